# The container's files on their way: passes of rsync over the overlay's upper layer, and the template it stands on.

# One rsync pass of the container's own files (the overlay's upper layer) while it runs, or, frozen, the last one.
# Whatever the times say, files that were open for writing or mapped shared and writable at any pass are compared
# by content: a second write through a mapping changes no time at all.
verb_send_files() { # CT TOKEN PASS   (PASS: a name; "final" once frozen)
    ct=$1 token=$2
    read_record "$ct"
    check_run "$ct" "$token"
    move=$RUN/move/$ct.$token
    upper=$CONTAINERS/$ct/upper
    open_files "$ct" >> "$move/open-files"
    before=$(now_ms)
    code=0 fsync=
    if [ "$3" = final ]; then
        fsync=--fsync
        send_upper "$upper/" "$RUN/links" > "$move/stats" || code=$?
    else
        mkdir -p "$move/jail"
        in_jail "$move/jail" "$upper" send_upper /tree/ /links > "$move/stats" || code=$?
    fi
    # While the container runs, files vanish (24) or become something else (23); the next pass sees it. Frozen, they stay.
    case $code:$3 in
        0:*) ;;
        *:final) fail 1 "rsync ended with $code" ;;
        23:* | 24:*) ;;
        *) fail 1 "rsync ended with $code" ;;
    esac
    if [ "$3" = final ]; then
        send_open_files
        on_link "$ct" "$token" flush-last
    else
        on_link "$ct" "$token" flush
    fi
    sed -n 's/^Total transferred file size: \([0-9,]*\).*/bytes \1/p; s/^Total bytes sent: \([0-9,]*\).*/sent \1/p' \
        "$move/stats" | tr -d ,
    echo "ms $(($(now_ms) - before))"
}

# trusted.overlay.origin names an inode of this node's own template: it means nothing elsewhere.
send_upper() { # TREE LINKS
    # shellcheck disable=SC2086
    $jailed rsync -aHAXS --numeric-ids --delete --modify-window=-1 --stats $fsync --filter='-x trusted.overlay.origin' \
        -e "$(link_shell "$2")" "$1" peer::files
}

link_shell() { # LINKS
    echo "ssh -F /dev/null -o BatchMode=yes -o ControlMaster=no -o ControlPath=$1/$ct.$token"
}

# rsync looks at a path more than once, and a running container can make a directory a link in between, to anywhere. So
# it gets a root in which there is nowhere to go, in a mount namespace that ends with it.
jailed=
in_jail() { # DIR TREE FUNCTION ARGS...
    jailed="unshare --mount --propagation private sh $KIT/jail $1 $2 $RUN/links"
    shift 2
    "$@" || return
    jailed=
}

# The peer may have received some of these under an equal size and time: compare contents. The container is frozen, so
# where a name leads now, it stays; one that leads out of the container's own files is not followed.
send_open_files() {
    upper=$(realpath "$upper")
    sort -zu "$move/open-files" | sed -z "s|^|$upper/|" | xargs -0r realpath -ez -- 2> /dev/null |
        sed -zn "s|^$upper/|./|p" > "$move/open-list" # with the dot, no name is taken for a comment
    [ -s "$move/open-list" ] || return 0
    rsync -aHAXS --numeric-ids --ignore-times --inplace --fsync --from0 --files-from="$move/open-list" \
        --filter='-x trusted.overlay.origin' -e "$(link_shell "$RUN/links")" "$upper/" peer::files
}

verb_send_template() { # CT TOKEN TEMPLATE
    ct=$1 token=$2
    check_name "$3"
    read_record "$ct"
    check_run "$ct" "$token"
    rsync -aHAXS --numeric-ids --delete -e "$(link_shell "$RUN/links")" "$DISK/templates/$3/" peer::template
}

# Paths, inside the container, of files that some process has open for writing or mapped shared and writable.
verb_open_files() { open_files "$1" | tr '\0' '\n'; }

# Names end with a NUL: they may hold everything else. In maps a newline stands as \012, as it may by itself; both are
# told, and what is not there is found out later.
open_files() { # CT
    while read -r pid; do
        # Descriptors whose flags end in 1 or 2 are O_WRONLY or O_RDWR.
        grep -l '^flags:.*[12]$' "/proc/$pid/fdinfo"/* 2> /dev/null | sed 's|/fdinfo/|/fd/|' |
            xargs -r readlink -z 2> /dev/null || :
        sed -n 's/^[0-9a-f-]* .w.s [0-9a-f]* [0-9a-f:]* [1-9][0-9]* *\//\//p' "/proc/$pid/maps" 2> /dev/null |
            tr '\n' '\0' | sed -z 'p; s/\\012/\n/g' || :
    done < "$(cgroup_of "$1")/cgroup.procs" | sed -zn 's|^/||p' | sort -zu
}
