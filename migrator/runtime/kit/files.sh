# The container's files on their way: passes of rsync over the overlay's upper layer, and the template it stands on.

# One rsync pass of the container's own files (the overlay's upper layer) while it runs, or, frozen, the last one.
# Whatever the times say, files that were mapped shared and writable at any pass are compared by content, since a second
# write through a mapping changes no time at all; and so are those that were open for writing, and changed since the
# move began: a second write within one tick of the kernel's clock does not change it either.
verb_send_files() { # CT TOKEN PASS   (PASS: a name; "final" once frozen)
    ct=$1 token=$2
    read_record "$ct"
    check_run "$ct" "$token"
    move=$RUN/move/$ct.$token
    upper=$CONTAINERS/$ct/upper
    [ "$3" != final ] || await_fence
    [ -e "$move/files-began" ] || touch -d '-2 seconds' "$move/files-began"
    mapped_files "$ct" >> "$move/mapped-files"
    written_files "$ct" >> "$move/written-files"
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
    {
        below_upper "$move/mapped-files"
        # By the time of the inode's change, which no program can set. A program's log is nearly always open.
        below_upper "$move/written-files" | xargs -0r sh -c 'find "$@" -maxdepth 0 -cnewer "$0" -print0' "$move/files-began"
    } | sed -zn "s|^$upper/|./|p" | sort -zu > "$move/open-list" # with the dot, no name is taken for a comment
    [ -s "$move/open-list" ] || return 0
    rsync -aHAXS --numeric-ids --ignore-times --inplace --fsync --from0 --files-from="$move/open-list" \
        --filter='-x trusted.overlay.origin' -e "$(link_shell "$RUN/links")" "$upper/" peer::files
}

# Where memory is streamed the last pass is started before the freeze, and stands ready: the fence leaves a mark.
await_fence() {
    [ -p "$move/fence" ] || return 0
    tries=12000
    until [ -e "$move/fenced" ]; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] && [ -d "$move" ] || fail 1 "container $ct was not fenced"
        sleep 0.005
    done
}

# Where names of the container lead in its upper layer, of those that are there.
below_upper() { # FILE
    sort -zu "$1" | sed -z "s|^|$upper/|" | xargs -0r realpath -ez -- 2> /dev/null | grep -z "^$upper/" || :
}

# One digest of all that the container's own files are. Asked for while nothing runs on them.
verb_manifest() { # CT TOKEN
    read_record "$1"
    check_run "$1" "$2"
    python3 -ESsB "$KIT/manifest.py" "$CONTAINERS/$1/upper"
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

# Names end with a NUL: they may hold everything else.
open_files() { # CT
    { written_files "$1" && mapped_files "$1"; } | sort -zu
}

written_files() { # CT
    while read -r pid; do
        # Descriptors whose flags end in 1 or 2 are O_WRONLY or O_RDWR.
        grep -l '^flags:.*[12]$' "/proc/$pid/fdinfo"/* 2> /dev/null | sed 's|/fdinfo/|/fd/|' |
            xargs -r readlink -z 2> /dev/null || :
    done < "$(cgroup_of "$1")/cgroup.procs" | sed -zn 's|^/||p'
}

# In maps a newline stands as \012, as it may by itself; both are told, and what is not there is found out later.
mapped_files() { # CT
    while read -r pid; do
        sed -n 's/^[0-9a-f-]* .w.s [0-9a-f]* [0-9a-f:]* [1-9][0-9]* *\//\//p' "/proc/$pid/maps" 2> /dev/null |
            tr '\n' '\0' | sed -z 'p; s/\\012/\n/g' || :
    done < "$(cgroup_of "$1")/cgroup.procs" | sed -zn 's|^/||p'
}
