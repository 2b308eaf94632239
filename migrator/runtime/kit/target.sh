# Verbs of a migration's target.

# Makes ready, on either side, what the frozen time must not wait for: directories, and memory for the images.
verb_prepare() { # CT TOKEN ROLE TEMPLATE[@DIGEST] ID_BASE IMAGE_BYTES_MAX PAGES_BYTES|stream|follow|none [BYTES_PER_S [ID_BASE_AT_SOURCE]]
    ct=$1
    lock
    read_record "$ct"
    check_run "$ct" "$2"
    check_name "${4%%@*}"
    check_number "$5"
    check_number "$6"
    check_number "${8:-0}"
    check_number "${9:-0}"
    case $7 in
        stream | follow | none) ;;
        *) check_number "$7" ;;
    esac
    if [ "$3" = target ]; then
        [ "$r_state" = reserved ] || refuse "container $ct is $r_state here"
    else
        disarm "$ct" # from here on neither keeper nor boot starts it; settle arms whoever keeps it
    fi
    move=$RUN/move/$ct.$2
    if ! mountpoint -q "$move" 2> /dev/null; then
        mkdir -p -m 700 "$move"
        mount -t tmpfs -o "size=$6,mode=700" tmpfs "$move"
    fi
    mkdir -p -m 700 "$move/images" "$move/work"
    echo "$ct" > "$move/container"
    [ "$7" != follow ] || : > "$move/follows"
    [ "${8:-0}" = 0 ] || echo "$8" > "$move/bandwidth"
    if [ "$3" != target ]; then
        case $7 in
            stream | follow)
                for fifo in pass flush told near fence; do
                    [ -p "$move/$fifo" ] || mkfifo "$move/$fifo"
                done ;;
        esac
        return 0
    fi
    for fifo in go woke stands round-came; do
        [ -p "$move/$fifo" ] || mkfifo "$move/$fifo"
    done
    case $7 in
        0 | none) ;;
        stream | follow) [ -p "$move/images/inventory.img" ] || mkfifo -m 640 "$move/images/inventory.img" ;;
        *) [ -s "$move/images/pages-1.img" ] || fallocate -l "$7" "$move/images/pages-1.img" ;;
    esac
    [ "${9:-0}" = 0 ] || echo "$9" > "$move/shifted-from"
    place=$4
    case $4 in # one that is not here yet may get another place when it has come
        *@*) find_template "${4%%@*}" "${4#*@}" || : ;;
    esac
    make_container_dir "$ct" "$place" "$5"
}

# Puts a template that was received for this move in a place, unless another move was first. One that has a manifest is
# held against it, every file, before anybody stands on it: outside the lock, and after who could still write to it has ended.
# What new containers are made from stays what it was.
verb_template_done() { # CT TOKEN TEMPLATE DIGEST
    check_name "$3"
    lock
    read_record "$1"
    check_run "$1" "$2"
    came=$TEMPLATES/.part-$1.$2.came
    at=
    [ ! -e "$CONTAINERS/$1/template" ] || read -r at < "$CONTAINERS/$1/template" || :
    place=$at
    if [ "${at%%@*}" != "$3" ] || ! is_version "$4"; then # another version may have come to this place meanwhile
        find_template "$3" "$4" || template_came "$@"
        [ "${at%%@*}" != "$3" ] || echo "$place" > "$CONTAINERS/$1/template"
    fi
    rm -rf "$TEMPLATES/.part-$1.$2" "$came"
}

template_came() { # CT TOKEN TEMPLATE DIGEST
    receivers_end "$1"
    [ -d "$came" ] || mv -T "$TEMPLATES/.part-$1.$2" "$came" 2> /dev/null || refuse "template $3 did not arrive"
    unlock
    digest=
    [ ! -e "$came/digest" ] || read -r digest < "$came/digest" || :
    [ "$digest" = "$4" ] || refuse "template $3 did not arrive whole"
    if [ -e "$came/manifest" ]; then
        fault=$(template_program verify "$came" "$4" 2>&1) || refuse "template $3 did not arrive whole: $fault"
    fi
    lock
    read_record "$1"
    check_run "$1" "$2"
    put_template "$came" "$3" "$4"
}

# Restores and holds: returns only when the container was released, or the restore failed or was called off. Where memory
# is streamed it is started before the freeze: the runtime and CRIU go as far as the first image, a fifo until the rest
# of them has come.
verb_restore() { # CT TOKEN stream|images|files [rehearsal]
    ct=$1 way=$3 id=$1
    # Under a name that no container can have: who looks at this node's runtime sees that it is none to rely on.
    [ "${4:-}" != rehearsal ] || id=$ct.rehearsal
    move=$RUN/move/$ct.$2
    read_record "$ct"
    check_run "$ct" "$2"
    if [ "$way" = files ]; then
        create_held
        return 0
    fi
    code=0 fault=
    restore_held || code=$?
    echo ended > "$move/ended"
    exec 6<> "$move/woke"
    echo ended >&6
    [ -z "$fault" ] || fail 12 "$fault"
    [ "$code" = 0 ] || forget_criu_root "$move/work/restore.log"
    [ "$code" = 0 ] || fail 1 "CRIU: $(criu_error "$move/work/restore.log")"
}

# A CRIU that was killed leaves the empty directory on which it has put the container's mounts together.
forget_criu_root() { # LOG
    sed -n 's/.*\(\/tmp\/\.criu\.mntns\.[A-Za-z0-9]\{6\}\).*/\1/p' "$1" 2> /dev/null | sort -u | while read -r root; do
        rmdir "$root" 2> /dev/null || :
    done
}

restore_held() {
    fault=$(volumes_there "$ct") || return 1
    mount_root "$ct" && open_groups "$ct" || return 1
    read -r base < "$CONTAINERS/$ct/id_base"
    # CRIU's first child reads images as the container's root, or, when it is quick, as the node's root that has just
    # lost its capabilities in the new user namespace: owner and group let in both, and nobody else.
    lazy=
    if [ "$way" = stream ]; then
        lazy=--lazy-pages
        # The runtime's own note of where the three standard streams led: in our containers to nothing outside.
        echo '["/dev/null","/dev/null","/dev/null"]' > "$move/images/descriptors.json"
    fi
    chown -R "$base:0" "$move/images"
    chmod -R g+rX "$move/images"
    # shellcheck disable=SC2086
    $RUNC restore --detach --tcp-established --file-locks $lazy \
        --image-path "$move/images" --work-path "$move/work" --bundle "$CONTAINERS/$ct" "$id" < /dev/null > /dev/null &
    runc=$!
    (watch_criu "$runc") 8>&- 2> /dev/null &
    watcher=$!
    code=0
    wait "$runc" || code=$?
    kill "$watcher" 2> /dev/null || :
    return "$code"
}

# The runtime waits for ever for a CRIU that was killed: it does not reap it, and the half-restored processes hold the
# other end of its socket. So a dead CRIU beside a living runtime ends the restore; never once the release has begun, but
# where CRIU says itself that it has failed: then it may wait for ever for processes that it has killed.
watch_criu() { # RUNC_PID
    criu=
    while [ -e "/proc/$1" ]; do
        sleep 0.1
        [ -e "$move/work/restore.log" ] || continue # a CRIU before this log was only asked for its version, and ends
        [ -n "$criu" ] || criu=$(oldest_criu "$1")
        [ -n "$criu" ] || continue
        ! is_running "$criu" || failed_to_let_go || continue
        sleep 0.5 # the runtime needs a moment to see a CRIU that ended by itself
        [ -e "/proc/$1" ] || return 0
        [ ! -e "$move/going" ] || failed_to_let_go || return 0
        kill_processes "$ct"
        kill -9 "$1"
        return 0
    done
}

failed_to_let_go() {
    [ -e "$move/going" ] && grep -aq 'because of failure on restore' "$move/work/restore.log"
}

# The runtime's own CRIU is the oldest of that name below it. Children are listed by thread, and it has many.
oldest_criu() { # RUNC_PID
    for child in $(cat "/proc/$1/task"/*/children | tr ' ' '\n' | sort -n); do
        read -r name < "/proc/$child/comm" || continue
        if [ "$name" = criu ]; then
            echo "$child"
            return 0
        fi
    done
}

is_running() { # PID   (a zombie is not)
    read -r stat < "/proc/$1/stat" || return 1
    case ${stat##*) } in
        Z*) return 1 ;;
    esac
}

# Only after COMMITTED: first the record, durably, then the processes.
verb_release() { # CT TOKEN
    ct=$1
    lock
    read_record "$ct"
    check_token "$ct" "$2"
    case $r_state in
        released) ;;
        held)
            boot_id
            [ "$r_boot" = "$boot_id" ] || fail 12 "this node has rebooted: the held copy of $ct is gone"
            is_held "$ct" || {
                all_can_let_go "$ct" || kill_processes "$ct" # asleep for ever in code of CRIU's own
                fail 12 "the held copy of $ct has died"
            }
            receivers_end "$ct"
            r_state=released
            write_record "$ct" ;;
        *) refuse "container $ct is $r_state here and cannot be released" ;;
    esac
    read_net "$ct"
    for move in "$RUN/move/$ct".[0-9]*; do
        [ -p "$move/go" ] || continue
        if [ ! -e "$move/ended" ]; then
            exec 7<> "$move/go"
            echo go >&7
            # The move's tmpfs holds the hook's fifos; wait until the restore has let go of them.
            for dir in "$RUN/jobs/$ct".[0-9]*.restore; do
                flock -w 20 "$dir/lock" true || fail 12 "the restore of $ct does not end after its release"
            done
        fi
        end_if_not_let_go "$move"
        [ ! -e "$move/gate-failed" ] || echo "gate_error $(cat "$move/gate-failed")"
    done
    [ "$r_cold" != yes ] || let_begin "$ct"
    uptime_ms
    echo "released_at_ms $now_ms"
    announce "$ct"
    has_processes "$ct" && echo 'processes running' || echo 'processes none'
}

# Only after SETTLED in favour of a target whose restored copy is lost: its files are the container, and start cold.
verb_adopt() { # CT TOKEN GENERATION
    ct=$1
    check_number "$3"
    lock
    read_record "$ct"
    check_token "$ct" "$2"
    [ "$3" -gt "$r_generation" ] || refuse "container $ct is of generation $r_generation here; $3 is not above it"
    case $r_state in
        stopped) return 0 ;;
        reserved | held) ;;
        *) refuse "container $ct is $r_state and is not adopted" ;;
    esac
    ! is_held "$ct" || refuse "container $ct is held here; it is released, not started cold"
    end_container "$ct"
    jobs_kill "$ct"
    if [ -e "$CONTAINERS/$ct/net" ]; then
        read_net "$ct"
        cut_cable
    fi
    r_state=stopped
    write_record "$ct"
}

# Once it runs here, nothing that the source still sends may reach its files. As a rule nothing is sent by now; but
# memory that follows is.
receivers_end() { # CT
    for dir in "$RUN/jobs/$1".[0-9]*.receive-*; do
        [ -d "$dir" ] || continue
        [ -e "$dir/stream" ] && memory_follows "$1" || job_kill "$dir"
    done
}

# Takes back everything that was made here for a move that did not commit. Also where nothing is: the lease may still
# be on its way, and must find that it is past.
verb_discard_target() { # CT TOKEN [RUN]
    ct=$1
    lock
    read_record "$ct"
    if [ "$r_state" = absent ]; then
        raise_floor "$ct" "$2"
        clean_move "$ct" "$2"
        return 0
    fi
    check_token "$ct" "$2" "${3:-}"
    case $r_state in
        reserved | held) ;;
        *) refuse "container $ct is $r_state here; it is not discarded" ;;
    esac
    for move in "$RUN/move/$ct".[0-9]*; do
        if [ -p "$move/images/inventory.img" ] && [ ! -e "$move/came" ]; then
            call_off "$ct" "$move"
        elif [ -p "$move/go" ] && [ ! -e "$move/ended" ]; then
            : > "$move/called-off"
            exec 7<> "$move/go"
            echo kill >&7
            for dir in "$RUN/jobs/$ct".[0-9]*.restore; do
                [ ! -d "$dir" ] || flock -w 10 "$dir/lock" true || :
            done
        fi
    done
    exec 7>&-
    keeper_end "$ct"
    end_container "$ct" # before CRIU is killed: what it held must not be let go
    jobs_kill "$ct"
    [ ! -e "$CONTAINERS/$ct/net" ] || {
        read_net "$ct"
        cut_cable
    }
    clean_move "$ct" "$2"
    discard_tree "$ct"
    remove_record "$ct" "$2"
    unlock_and_delete
}

# Ends a restore that still waits for its first image: it reads an empty one, and cleans up after itself.
call_off() { # CT MOVE
    tries=0
    for dir in "$RUN/jobs/$1".[0-9]*.restore; do
        [ -d "$dir" ] || continue
        until flock -w 0.1 "$dir/lock" true || [ "$tries" -ge 100 ]; do
            tries=$((tries + 1))
            : <> "$2/images/inventory.img"
        done
    done
}

# The MAC address that answers for an address on this node's own network, if any does; or "blind" and why nobody can be
# asked here. The node itself would not answer.
verb_arp_owner() { # BRIDGE ADDRESS [soon]
    check_interface "$1"
    case $2 in
        '' | *[!0-9a-f.:]*) refuse "not an address: $2" ;;
    esac
    if [ -n "$(ip -o address show to "$2" 2> /dev/null)" ]; then
        echo "owner $(cat "/sys/class/net/$1/address")"
        return 0
    fi
    case $2 in
        *:*) neighbour_owner "$1" "$2" ;;
        *) ask_for_owner "$@" 2> /dev/null | sed -n 's/.*\[\([0-9A-Fa-f:]*\)\].*/owner \1/p' | sort -u ;;
    esac
}

# Twice, for one packet may be lost. A neighbour answers within some milliseconds; where there is time it is given a second.
# Where there is little, each has 100 ms for its answer, and the second begins 10 ms after the first.
ask_for_owner() { # BRIDGE ADDRESS [soon]
    if [ "${3:-}" = soon ]; then
        { sleep 0.01; exec timeout 0.1 arping -f -c 1 -I "$1" "$2"; } &
        timeout 0.1 arping -f -c 1 -I "$1" "$2" || :
        wait "$!" || :
    else
        arping -f -w 1 -I "$1" "$2" || :
    fi
}

# By the kernel's own neighbour solicitation, whatever routes there are; what it has learnt before is not asked for.
neighbour_owner() { # BRIDGE ADDRESS
    tries=30 # a bridge that has just come up asks for a second or two whether its own address is free
    while [ -n "$(ip -6 -o address show dev "$1" scope link tentative 2> /dev/null)" ] && [ "$tries" -gt 0 ]; do
        tries=$((tries - 1))
        sleep 0.1
    done
    if [ -z "$(ip -6 -o address show dev "$1" scope link -tentative 2> /dev/null)" ]; then
        echo "blind IPv6 is off on bridge $1"
        return 0
    fi
    ip -6 neigh del "$2" dev "$1" 2> /dev/null || :
    ip -6 neigh replace "$2" dev "$1" use
    tries=24
    while [ "$tries" -gt 0 ]; do
        case $(ip -6 neigh show "$2" dev "$1") in
            *lladdr*) break ;;
        esac
        tries=$((tries - 1))
        sleep 0.05
    done
    ip -6 neigh show "$2" dev "$1" | sed -n 's/.* lladdr \([0-9a-f:]*\).*/owner \1/p'
    ip -6 neigh del "$2" dev "$1" 2> /dev/null || :
}

# Whether CRIU can start at all on this kernel. Whether it can dump is proven by dumping.
verb_criu_check() {
    criu check > /dev/null 2>&1 && echo 'criu works' || echo 'criu fails'
}
