# The container's files on their way: passes of rsync over the overlay's upper layer, and the template it stands on.

# One rsync pass of the container's own files (the overlay's upper layer) while it runs, or, frozen, the last one.
# Whatever the times say, files that were mapped shared and writable at any pass are compared by content, since a second
# write through a mapping changes no time at all; so are those that were open for writing, and changed since the
# move began: a second write within one tick of the kernel's clock does not change it either; and so are those that have
# changed since the pass before, and had their times put back.
verb_send_files() { # CT TOKEN PASS   (PASS: a name; "final" once frozen)
    ct=$1 token=$2
    read_record "$ct"
    check_run "$ct" "$token"
    move=$RUN/move/$ct.$token
    upper=$CONTAINERS/$ct/upper
    code=0 how='' fsync='' via='' flush='' module=files disks='' disk_code=0
    rm -f "$move/disk-stats"
    [ -e "$move/files-began" ] || { look_for_holes && touch -d '-2 seconds' "$move/files-began"; }
    tracked=
    if [ "$3" = final ]; then
        begin_last_pass
    else
        [ "$3" != 1 ] || track_many "$upper"
        [ ! -e "$move/tracking" ] || tracked=$move/tracked
        touch -d '-2 seconds' "$move/pass-begins"
    fi
    before=$(now_ms)
    mapped_files "$ct" >> "$move/mapped-files"
    written_files "$ct" >> "$move/written-files"
    if [ "$3" = final ]; then
        flushing=
        [ -e "$move/bandwidth" ] || begin_last_disks
        [ ! -e "$CONTAINERS/$ct/volumes" ] || { flush_volumes "$ct" 6>&- 7>&- & flushing=$!; }
        find_open_files # beside it
        wait "$pass" || code=$?
        # Before the target is told that all has come: from then on CRIU opens files there.
        [ -z "$flushing" ] || wait "$flushing" || fail 1 "what is written to the volumes of $ct cannot be brought to their storage"
        if [ -e "$move/walk" ]; then
            code=0 via=''
            send_upper "$upper/" "$RUN/links" > "$move/stats" || code=$?
        fi
        await_last_disks
        [ "$how" != send_changed ] || add_put_back
    else
        mkdir -p "$move/jail"
        in_jail "$move/jail" "$upper" send_upper /tree/ /links > "$move/stats" || code=$?
        [ "$code" != 0 ] || send_put_back || code=$?
        pass_disks
        flush_volumes "$ct" || : # so that little is left for the pause
    fi
    # While the container runs, files vanish (24) or become something else (23); the next pass sees it. Frozen, they stay.
    [ "$code" != 0 ] || code=$disk_code
    case $code:$3 in
        0:*) ;;
        *:final) fail 1 "rsync ended with $code" ;;
        23:* | 24:*) ;;
        *) fail 1 "rsync ended with $code" ;;
    esac
    if [ "$3" = final ]; then
        not_yet_equal "$move/open-list" "$move/stats"
        not_yet_equal "$move/disk-open-list" "$move/disk-stats"
        [ ! -s "$move/open-list" ] || send_open_files files "$upper" "$move/open-list"
        [ ! -s "$move/disk-open-list" ] || send_open_files disks "$CONTAINERS/$ct/disks" "$move/disk-open-list"
        flush_last
    else
        [ "$code" != 0 ] || mv "$move/pass-begins" "$move/pass-began"
        on_link "$ct" "$token" flush
        # All that was there has come, and what changed since then will be told.
        [ -z "$tracked" ] || [ "$code" = 23 ] || : > "$tracked"
    fi
    [ "$how" != send_changed ] || [ -e "$move/walk" ] || echo "listed $(tr -cd '\0' < "$move/changed" | wc -c)"
    sed -n 's/^Total transferred file size: \([0-9,]*\).*/bytes \1/p; s/^Total bytes sent: \([0-9,]*\).*/sent \1/p' \
        "$move"/*stats | tr -d , | awk '{ sum[$1] += $2 } END { for (key in sum) printf "%s %.0f\n", key, sum[key] }'
    echo "ms $(($(now_ms) - before))"
}

# trusted.overlay.origin names an inode of this node's own template: it means nothing elsewhere.
send_upper() { # TREE LINKS
    send "$2" --delete "$1"
}

# Names alone: those that are gone go on the other side, too, and so does what is in a new directory there and not here.
send_changed() { # TREE LINKS
    send "$2" --from0 --files-from="$move/changed" --delete-missing-args --delete --force "$1"
}

send() { # LINKS RSYNC_ARGS...
    links=$1
    shift
    # shellcheck disable=SC2046,SC2086
    $jailed rsync -aHAXS --numeric-ids --modify-window=-1 --stats $fsync $(bandwidth) $(through_holes) --filter='-x trusted.overlay.origin' \
        -e "$via$(link_shell "$links")" "$@" "peer::$module"
}

# rsync finds holes where it writes, but what reads sends them as the zeros that they are. Compressed those are next to
# nothing; other files would only cost time. Not by lz4: rsync 3.5.0 ends where a daemon receives it.
export RSYNC_COMPRESS_LIST='zstd zlibx zlib'

look_for_holes() {
    ! find "$upper" "$CONTAINERS/$ct/disks" -type f -size +1M -printf '%S\n' 2> /dev/null |
        awk '$1 < 0.5 { found = 1; exit } END { exit !found }' || : > "$move/holes"
}

through_holes() { [ ! -e "$move/holes" ] || echo --compress; }

# Of a container with many files somebody notes what changes, from before the first pass on, so that the last one walks
# over nothing.
MANY_FILES=10000
track_many() { # UPPER
    [ "$(find "$1" -printf . | head -c "$MANY_FILES" | wc -c)" -ge "$MANY_FILES" ] || return 0
    dir=$RUN/jobs/$ct.$token.track
    lock
    read_record "$ct"
    check_run "$ct" "$token"
    # In parentheses: it keeps nothing of this job open, which would not end else.
    [ -d "$dir" ] || (exec 7>&- && job_start "$dir" 0 track-files "$ct" "$token")
    unlock
    tries=3000
    until [ -e "$move/tracking" ] || [ -e "$dir/status" ] || [ "$tries" = 0 ]; do
        tries=$((tries - 1))
        sleep 0.01
    done
}

verb_track_files() { # CT TOKEN
    read_record "$1"
    check_run "$1" "$2"
    move=$RUN/move/$1.$2
    [ -p "$move/listed" ] || mkfifo "$move/listed"
    python3 -ESsB "$KIT/track.py" "$move" "$CONTAINERS/$1/rootfs" "$CONTAINERS/$1/upper"
}

# The word for rsync that bounds what it sends, in KiB a second; nothing where a move may take all there is.
bandwidth() {
    [ -e "$RUN/move/$ct.$token/bandwidth" ] || return 0
    read -r bytes_per_s < "$RUN/move/$ct.$token/bandwidth"
    echo "--bwlimit=$((bytes_per_s < 1024 ? 1 : bytes_per_s / 1024))"
}

# Starts the last pass. Where memory is streamed, that is before the freeze: rsync and its receiver stand ready, and so
# does what the target is told at the end; nothing looks at a file before the fence has left its mark.
begin_last_pass() {
    fsync="--fsync --out-format=%i_%n" how=send_upper
    if [ -e "$move/tracked" ] && [ -e "$move/tracking" ]; then
        how=send_changed
        : > "$move/changed" # rsync opens it now, and reads it when it holds the names
    fi
    if [ -p "$move/fence" ]; then
        via="sh $KIT/hold-back $move "
        exec 6<> "$move/flush" 7<> "$move/pass"
        # shellcheck disable=SC2086
        { exec $LINK -o ControlPath="$RUN/links/$ct.$token" peer flush-told; } <&6 &
        flush=$!
        trap 'kill "$flush" 2> /dev/null || :' EXIT
    elif [ "$how" = send_changed ]; then # the container is fenced
        sh "$KIT/ask-changes" "$move" || how=send_upper
        rm -f "$move/walk"
    fi
    $how "$upper/" "$RUN/links" > "$move/stats" &
    pass=$!
    [ -z "$flush" ] || [ -e "$move/fenced" ] || read -r _ <&7
}

# Has the target write down that all files have come.
flush_last() {
    if [ -n "$flush" ]; then
        echo now >&6
        wait "$flush"
    else
        on_link "$ct" "$token" flush-last
    fi
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
find_open_files() {
    # By the time of the inode's change, which no program can set. A program's log is nearly always open, and most are at
    # rest: then nothing more is started, for this is in the pause.
    sort -zu "$move/written-files" | in_place "$ct" |
        xargs -0r sh -c 'exec find -L "$@" -maxdepth 0 -cnewer "$0" -print0' "$move/files-began" 2> /dev/null \
            > "$move/changed-files" || : # of those that are there
    [ ! -s "$move/mapped-files" ] || sort -zu "$move/mapped-files" | in_place "$ct" >> "$move/changed-files"
    [ "$how" = send_changed ] || put_back >> "$move/changed-files"
    ! has_disks "$ct" || put_back_in "$CONTAINERS/$ct/disks" "$move/files-began" >> "$move/changed-files"
    list_open_files
}

list_open_files() {
    : > "$move/open-list"
    : > "$move/disk-open-list"
    [ -s "$move/changed-files" ] || return 0
    { xargs -0r realpath -ez -- < "$move/changed-files" 2> /dev/null || :; } | sort -zu > "$move/real-files"
    # With the dot, no name is taken for a comment.
    sed -zn "s|^$(realpath "$upper")/|./|p" "$move/real-files" > "$move/open-list"
    ! has_disks "$ct" ||
        sed -zn "s|^$(realpath "$CONTAINERS/$ct/disks")/|./|p" "$move/real-files" > "$move/disk-open-list"
}

# Takes out of a list, which is sorted, what the last pass has sent: rsync compares the whole of what it sends, and the
# container is frozen. Where a name has characters that it does not print as they are, its file is compared once more.
not_yet_equal() { # LIST STATS
    [ -s "$1" ] && [ -e "$2" ] || return 0
    sed -n 's|^<f[^_]*_|./|p' "$2" | tr '\n' '\0' | sort -z | comm -z -23 "$1" - > "$1.left"
    mv "$1.left" "$1"
}

# Files that have changed since the pass before began, and do not say so: who rewrites one and puts its times back, as
# archivers do, has rsync take it for what it has sent. A new mode or name looks the same, and costs a comparison.
put_back() { # [named]   (with it, of the names on stdin alone)
    mark=$move/pass-began
    [ -e "$mark" ] || mark=$move/files-began
    if [ "${1:-}" = named ]; then
        sed -z "s|^|$upper/|" | xargs -0r sh -c 'exec find "$@" -maxdepth 0 -type f -cnewer "$0" -printf "%C@ %T@ %p\0"' "$mark" \
            2> /dev/null | not_as_they_say # of those that are there
    else
        put_back_in "$upper" "$mark"
    fi
}

put_back_in() { # TREE MARK
    find "$1" -type f -cnewer "$2" -printf '%C@ %T@ %p\0' 2> /dev/null | not_as_they_say
}

not_as_they_say() {
    sed -zn '/^\([^ ]*\) \1 /!s/^[^ ]* [^ ]* //p'
}

# Of a container with many files only those are looked at that have changed, where names tell all.
add_put_back() {
    if [ -e "$move/walk" ]; then put_back; else put_back named < "$move/changed"; fi > "$move/put-back"
    [ -s "$move/put-back" ] || return 0
    cat "$move/put-back" >> "$move/changed-files"
    list_open_files
}

# While the container runs, from within the same jail as a pass.
send_put_back() {
    [ -e "$move/pass-began" ] || return 0 # the first pass has sent all there was
    put_back | sed -z "s|^$upper/|./|" > "$move/put-back"
    [ ! -s "$move/put-back" ] || in_jail "$move/jail" "$upper" send_named /tree/ /links > /dev/null
}

send_named() { # TREE LINKS
    send "$2" --ignore-times --from0 --files-from=- "$1" < "$move/put-back"
}

send_open_files() { # MODULE TREE LIST
    # shellcheck disable=SC2046
    rsync $(bandwidth) $(through_holes) --stats -aHAXS --numeric-ids --ignore-times --inplace --fsync --from0 \
        --files-from="$3" --filter='-x trusted.overlay.origin' -e "$(link_shell "$RUN/links")" "$2/" "peer::$1" \
        > "$move/open-$1-stats"
}

# One digest of all that the container's own files are. Asked for while nothing runs on them.
verb_manifest() { # CT TOKEN
    read_record "$1"
    check_run "$1" "$2"
    set -- "$1" "$2" "$(receiving "$1" "$2" upper)"
    ! has_disks "$1" || set -- "$@" "$(receiving "$1" "$2" disks)" # as they are at the source, whatever the ids are here
    shift 2
    python3 -ESsB "$KIT/manifest.py" "$@"
}

verb_send_template() { # CT TOKEN TEMPLATE
    ct=$1 token=$2
    check_name "$3"
    read_record "$ct"
    check_run "$ct" "$token"
    read -r place < "$CONTAINERS/$ct/template"
    check_place "$place"
    # shellcheck disable=SC2046
    rsync $(bandwidth) -aHAXS --numeric-ids --delete -e "$(link_shell "$RUN/links")" "$DISK/templates/$place/" peer::template
}

# Paths, inside the container, of files that some process has open for writing or mapped shared and writable.
verb_open_files() { open_files "$1" | tr '\0' '\n'; }

# Names end with a NUL: they may hold everything else.
open_files() { # CT
    { written_files "$1" && mapped_files "$1"; } | sort -zu
}

written_files() { # CT   (one that was stopped has no processes, nor a group for them)
    elsewhere=
    [ ! -e "$CONTAINERS/$1/volumes" ] || elsewhere=$(drop_volumes "$1")
    found=$(pids_of "$1")
    [ -n "$found" ] || return 0
    set --
    for process in $found; do
        set -- "$@" "/proc/$process/fd"
    done
    # A descriptor is a link that may be written to if the file was opened so.
    find "$@" -type l -perm -200 -lname '/*' -printf '%l\0' 2> /dev/null | sed -z -e 's|^/||' -e "$elsewhere"
}

# In maps a newline stands as \012, as it may by itself; both are told, and what is not there is found out later.
mapped_files() { # CT
    elsewhere=
    [ ! -e "$CONTAINERS/$1/volumes" ] || elsewhere=$(drop_volumes "$1")
    found=$(pids_of "$1")
    [ -n "$found" ] || return 0
    set --
    for process in $found; do
        set -- "$@" "/proc/$process/maps"
    done
    shared=$(sed -n 's/^[0-9a-f-]* .w.s [0-9a-f]* [0-9a-f:]* [1-9][0-9]* *\//\//p' "$@" 2> /dev/null) || :
    [ -z "$shared" ] || printf '%s\n' "$shared" | tr '\n' '\0' | sed -z -e 's|^/||' -e "$elsewhere" -e 'p; s/\\012/\n/g'
}
