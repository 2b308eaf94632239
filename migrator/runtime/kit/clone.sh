# Clones: a container made anew from another one's files on this node, and from its memory where that is asked for.
#
# Files are copied into the clone's upper layer through a mount that shifts ids from one range to the other, so owners,
# those in ACLs and those in capabilities arrive as they are to be, by the kernel's own hand. A running source stands still
# for the copy, or, where the filesystem shares no blocks and there is much, for the last pass over it; a clone is
# then what a crash at that moment would leave, together with the memory of that moment.
#
# Nothing of a clone is the source's but its lock ($CONTAINERS/SRC/clone-lock), held as long as anything reads it. While
# it is, no move of the source begins and nobody starts it. A copy that dies, or takes too long, is seen by a watchdog,
# which lets the source go on. A clone that is not whole has the file `cloning`, by which nobody starts it.

KEEPING='-aHAXS --numeric-ids'

# More than this is copied before the source stands still, and once more then.
SMALL_FILES=2000
SMALL_KIB=32768

is_being_cloned() { # CT
    [ -e "$CONTAINERS/$1/clone-lock" ] && ! flock -n 5 5< "$CONTAINERS/$1/clone-lock" 2> /dev/null
}

check_not_cloned() { # CT
    ! is_being_cloned "$1" || refuse "container $1 is being cloned just now; try again"
}

check_whole() { # CT
    [ ! -e "$CONTAINERS/$1/cloning" ] ||
        refuse "container $1 is the half of a clone that was never finished; remove it: migrator ct destroy $1"
    [ -e "$CONTAINERS/$1/net" ] || # it comes with all else that describes one
        refuse "container $1 was never made to its end; remove it: migrator ct destroy $1"
}

# Copies, as a job that is found again by whoever asks a second time; reports as `job` does. The clone has its record and
# its description already, and is whole once its file `cloning` is gone. BYTES is what its memory may take, 0 for none.
verb_ct_clone() { # CT CREATOR SRC BYTES DEADLINE_S WAIT_S
    ct=$1
    check_name "$3"
    for number in "$4" "$5" "$6"; do
        check_number "$number"
    done
    lock
    read_record "$ct"
    is_creator "$2" || refuse "container $ct here was made by somebody else"
    dir=$RUN/jobs/$ct.$r_token.clone
    if [ ! -e "$CONTAINERS/$ct/cloning" ]; then
        jobs_kill "$ct"
        echo 'job done'
        echo 'exit 0'
        return 0
    fi
    [ -s "$dir/pid" ] || job_alive "$dir" || rm -rf "$dir"
    [ -d "$dir" ] || job_start "$dir" 0 clone-copy "$ct" "$3" "$r_token" "$4" "$5"
    unlock
    [ -e "$dir/status" ] || flock -w "$6" 5 5< "$dir/lock" 2> /dev/null || :
    job_report "$dir"
    [ "$(cat "$dir/status" 2> /dev/null)" != 0 ] || rm -rf "$dir"
}

verb_clone_copy() { # CT SRC TOKEN BYTES DEADLINE_S
    ct=$1 source=$2 token=$3 bytes=$4 deadline_s=$5
    check_name "$source"
    for number in "$token" "$bytes" "$deadline_s"; do
        check_number "$number"
    done
    read_record "$ct"
    [ "$r_token" = "$token" ] && [ -e "$CONTAINERS/$ct/cloning" ] || refuse "container $ct is not being cloned"
    [ -d "$CONTAINERS/$source" ] || fail 11 "container $source is not on this node"
    exec 7> "$CONTAINERS/$source/clone-lock"
    flock -w 60 7 || fail 12 "container $source is being cloned by somebody else"
    lock
    read_record "$source"
    check_at_rest "$source"
    check_not_leased "$source"
    check_whole "$source"
    unlock
    move=$RUN/move/$ct.$token
    from=$CONTAINERS/$source/upper
    read -r from_base < "$CONTAINERS/$source/id_base"
    read -r base < "$CONTAINERS/$ct/id_base"
    frozen= fresh=
    trap let_source_go EXIT
    if has_processes "$source"; then
        copy_running
    else
        [ "$bytes" = 0 ] || fail 12 "container $source does not run, so it has no memory to be cloned"
        copy_whole
    fi
    ! is_fresh "$source" || fresh=yes # asked while it cannot be started
    trap - EXIT
    exec 7>&-
    # One that has never been started is given its own when it is, and so is its clone.
    [ -n "$fresh" ] || { renew_identity && rm -f "$CONTAINERS/$ct/fresh"; } || fail 1 "the clone $ct cannot be told from $source"
    [ "$bytes" = 0 ] || python3 -ESsB "$KIT/twin_images.py" "$move/images" "$source" "$ct" "$from_base" "$base" \
        "$(hostname_of "$ct")" || fail 1 "the images of $source cannot be made those of $ct"
    rm "$CONTAINERS/$ct/cloning"
}

copy_running() {
    passes=
    # Volumes of its own are copied while it stands still: a pass over them while it runs would need one for each.
    is_small "$from" || shares_blocks || has_disks "$source" || passes=yes
    if [ -n "$passes" ]; then
        { written_files "$source" && mapped_files "$source"; } > "$CONTAINERS/$ct/.open" || :
        copy_while_it_runs
    fi
    [ "$bytes" = 0 ] || prepare_memory
    hold_source
    dump=
    if [ "$bytes" != 0 ]; then
        groups_out "$source" "$move"
        # Not in the job's group: a CRIU that is killed would leave its own code in the source's processes.
        GZIP=-1 CRIU_CONFIG_FILE=$move/more.conf setsid $RUNC checkpoint --leave-running --file-locks \
            --image-path "$move/images" --work-path "$move/work" "$source" < /dev/null > /dev/null 2> "$move/runc" 8>&- &
        dump=$!
    fi
    code=0
    # In a shell of its own: whatever fails there, the dump is waited for.
    if [ -n "$passes" ]; then
        (copy_what_changed) || code=$?
    else
        (copy_whole) || code=$?
    fi
    [ -z "$dump" ] || wait "$dump" || fail 1 "CRIU: $(criu_error "$move/work/dump.log")"
    [ "$code" = 0 ] || exit "$code"
    let_source_go
    [ -z "$late" ] || fail 12 "container $source stood still for $deadline_s s and was let go on before it was copied; allow more: --max-blackout"
    echo "paused_ms $((now_ms - held_ms))"
}

# --- files --------------------------------------------------------------------------------------------------------------

# Few and small enough to be copied while the source stands still.
is_small() { # TREE
    find "$1" -printf '%k\n' 2> /dev/null | head -n $((SMALL_FILES + 1)) |
        awk -v files="$SMALL_FILES" -v kib="$SMALL_KIB" '{ sum += $1 } END { exit !(NR <= files && sum <= kib) }'
}

shares_blocks() {
    echo a > "$CONTAINERS/$ct/.try"
    cp --reflink=always "$CONTAINERS/$ct/.try" "$CONTAINERS/$ct/.tried" 2> /dev/null && shares=0 || shares=1
    rm -f "$CONTAINERS/$ct/.try" "$CONTAINERS/$ct/.tried"
    return "$shares"
}

# With the clone's upper layer, or what else `tree` names, at an empty directory of its own, its ids shifted: what is written there as the source's is
# the clone's. In a mount namespace that ends with the command.
shifted() { # COMMAND...
    unshare --mount --propagation private sh "$KIT/shifted" "$from_base" "$base" "$CONTAINERS/$ct/$tree" "$place" "$@" 7>&- 8>&-
}

copy_whole() {
    place=$CONTAINERS/$ct/rootfs
    for tree in upper disks; do
        [ "$tree" = upper ] || has_disks "$source" || continue
        shifted cp -dR --preserve=mode,ownership,timestamps,links,xattr --reflink=auto --sparse=auto \
            "$CONTAINERS/$source/$tree/." "$place/" || fail 1 "the files of $source cannot be copied"
    done
}

# A running container can make a directory a link in between, to anywhere: rsync gets a root in which there is nowhere to go.
copy_while_it_runs() {
    place=$CONTAINERS/$ct/rootfs tree=upper
    code=0
    shifted sh "$KIT/jail" "$CONTAINERS/$ct/lower" "$from" "$place" \
        rsync $KEEPING --modify-window=-1 --delete /tree/ /links/ || code=$?
    case $code in
        0 | 23 | 24) ;; # what has vanished, or has become something else, the last pass sees
        *) fail 1 "the files of $source cannot be copied: rsync ended with $code" ;;
    esac
}

# While it stands still. Whatever the times say, files that were open for writing or mapped are copied by their content.
copy_what_changed() {
    tree=upper
    shifted rsync $KEEPING --modify-window=-1 --delete "$from/" "$place/" || fail 1 "the files of $source cannot be copied"
    { written_files "$source" && mapped_files "$source"; } >> "$CONTAINERS/$ct/.open" || :
    below=$(realpath "$from")
    sort -zu "$CONTAINERS/$ct/.open" | sed -z "s|^|$from/|" | { xargs -0r realpath -ez -- 2> /dev/null || :; } |
        sed -zn "s|^$below/|./|p" | sort -zu > "$CONTAINERS/$ct/.opened"
    [ ! -s "$CONTAINERS/$ct/.opened" ] ||
        shifted rsync $KEEPING --ignore-times --inplace --from0 --files-from="$CONTAINERS/$ct/.opened" "$from/" "$place/" ||
        fail 1 "the files of $source cannot be copied"
    rm -f "$CONTAINERS/$ct/.open" "$CONTAINERS/$ct/.opened"
}

# --- the source stands still ----------------------------------------------------------------------------------------------

# By a lock that dies with whoever copies, and whatever reads for it (fd 6), a watchdog knows when it may go on.
hold_source() {
    held=$RUN/held.$source.$$
    echo "$RUN/jobs/$ct.$token.clone" > "$held"
    exec 6<> "$held"
    flock 6
    (exec 6>&- 7>&- 8>&- && setsid sh "$KIT/node" clone-watchdog "$source" "$held" "$deadline_s" < /dev/null > /dev/null 2>&1 &)
    lock
    read_record "$source"
    has_processes "$source" || fail 12 "container $source has ended meanwhile"
    first=$(init_pid "$source")
    uptime_ms
    held_ms=$now_ms frozen=yes
    set_frozen "$source" 1
    unlock
}

# Says in `late` whether somebody else has let it go on before: then what was copied is of no one moment.
let_source_go() {
    [ -n "$frozen" ] || return 0
    frozen='' late=yes
    lock_at_last
    if [ -e "$held" ] && has_processes "$source" && is_frozen "$(cgroup_of "$source")" 1; then
        [ "$(init_pid "$source")" != "$first" ] || late=
        let_go_on "$source"
    fi
    rm -f "$held"
    uptime_ms
    unlock
    exec 6>&-
}

# What a move has frozen meanwhile is the move's.
let_go_on() { # CT
    read_record "$1"
    case $r_state in
        serving | stopped) set_frozen "$1" 0 ;;
    esac
}

# Lets the source go on when the copy has died, or at the deadline, whatever became of it. CRIU is waited for.
verb_clone_watchdog() { # SRC HELD DEADLINE_S
    check_number "$3"
    case $2 in
        "$RUN/held.$1".*[!0-9]*) refuse "not one that is held: $2" ;;
        "$RUN/held.$1".?*) ;;
        *) refuse "not one that is held: $2" ;;
    esac
    exec 5< "$2" || return 0
    if ! flock -w "$3" 5; then
        read -r dir < "$2" || :
        [ ! -s "$dir/pid" ] || { read -r leader < "$dir/pid" && kill -9 "-$leader"; } || :
        echo "its source stood still for $3 s" 2> /dev/null > "$dir/why" || :
        flock 5
    fi
    lock_at_last
    [ -e "$2" ] || return 0
    ! has_processes "$1" || let_go_on "$1"
    rm -f "$2"
}

# --- memory ---------------------------------------------------------------------------------------------------------------

# What can be made before the source stands still. Connections are closed in the twin: CRIU leaves the source's alone.
prepare_memory() {
    mkdir -p -m 700 "$move"
    mountpoint -q "$move" || mount -t tmpfs -o "size=$bytes,mode=700" tmpfs "$move"
    mkdir -p -m 700 "$move/images" "$move/work"
    echo "$ct" > "$move/container"
    : > "$move/twin"
    printf 'tcp-close\nskip-in-flight\n' > "$move/more.conf"
    pid=$(init_pid "$source")
    tell_criu "$source" "$pid"
    read_net "$source"
    [ -n "$(in_network "$pid" nft list tables)" ] || return 0
    tell_rules "$source" "$pid"
    mkdir -p "$move/carry"
    printf %s "${rules% *}" | base64 -d > "$move/carry/nft"
    cards_of "$pid" > "$move/carry/cards"
}

# A start from the images that a clone with memory has left, in place of a cold one; once, for what it did then is in its
# files. Its gate is closed until it runs.
begin_container() { # CT   (its record is read)
    move=$RUN/move/$1.$r_token
    [ -e "$move/twin" ] && [ ! -e "$move/woken" ] || {
        start_container "$1"
        return
    }
    : > "$move/woken"
    (wake_twin "$1") < /dev/null > /dev/null 2> "$RUN/start.$1" 3>&- 4>&- 9>&- || return 1
    read_net "$1"
    gate_open || return 1
    announce "$1"
}

wake_twin() { # CT
    ct=$1 id=$1 way=images code=0 fault=
    rm -f "$move"/images/netns-ct-*.img "$move"/images/netns-exp-*.img # connections that it has not
    CRIU_CONFIG_FILE=$move/more.conf
    export CRIU_CONFIG_FILE
    restore_held && return 0
    forget_criu_root "$move/work/restore.log"
    echo "level=error msg=\"${fault:-CRIU: $(criu_error "$move/work/restore.log")}\"" >&2
    return 1
}

# Sockets that have one address of the container's: a twin has others, and could not have them.
verb_bound() { # CT
    has_processes "$1" || return 0
    all=$(processes "$1")
    in_network "$(init_pid "$1")" ss -Hntuwap 2> /dev/null | awk '
        $1 == "tcp" && $2 != "LISTEN" { next }
        { at = $5; sub(/:[^:]*$/, "", at); sub(/%.*/, "", at); gsub(/[][]/, "", at); sub(/^::ffff:/, "", at) }
        at == "*" || at == "0.0.0.0" || at == "::" || at == "::1" || at ~ /^127\./ { next }
        { pid = $0; if (!sub(/.*pid=/, "", pid)) pid = 0; sub(/[^0-9].*/, "", pid); print $1, $5, pid }' |
        sort -u | head -n 200 | while read -r kind at pid; do
            inner=$(printf '%s\n' "$all" | awk -v pid="$pid" '$1 == pid { print $2 }')
            comm=$(tr -cd 'A-Za-z0-9._-' < "/proc/$pid/comm" 2> /dev/null) || :
            printf 'bound %s %s %s %s\n' "$kind" "$at" "${inner:-1}" "${comm:--}"
        done
}
