# Verbs of a migration's source.

# The fence: freeze, gate closed, and a watchdog on this node that undoes both at the deadline.
verb_fence() { # CT TOKEN DEADLINE_S [carried|MARK]
    ct=$1 token=$2
    check_number "$3"
    uptime_ms
    begun_ms=$now_ms
    read_record "$ct"
    check_run "$ct" "$token"
    await_ready "$RUN/move/$ct.$token" "$RUN/jobs/$ct.$token"
    lock_for_fence "$ct" "$token" 'serving fenced' # fenced: a first try may have died on the way; all is done again
    has_processes "$ct" || fail 12 "container $ct has no processes"
    read_net "$ct"
    boot_id
    r_state=fenced r_boot=$boot_id r_deadline_s=$3 r_armed=no
    write_record "$ct"
    keeper_end "$ct" # long gone, unless the container was armed again by hand
    dir=$RUN/jobs/$ct.$token.watchdog
    if ! job_alive "$dir"; then
        rm -rf "$dir"
        job_start "$dir" 0 watchdog "$ct" "$3"
    fi
    pid=$(init_pid "$ct")
    carried=$(carry_since "$ct" "$pid" "${4:-}") # before the pause: some milliseconds, and nearly always nothing
    [ -z "$carried" ] || printf '%s\n' "$carried"
    [ -p "$RUN/move/$ct.$token/fence" ] || tell_criu "$ct" "$pid" # else its dump has begun with that
    hold_back "$ct" 2> /dev/null || : # a node that cannot lets a few milliseconds decide
    if ! at_rest "$pid"; then
        unlock # the container before it on the same links is paused until it has this lock for its seal
        await_accepted "$ct" "$pid"
        lock_for_fence "$ct" "$token" fenced
        await_accepted "$ct" "$pid" # where none can be held back, some have come meanwhile
    fi
    uptime_ms
    # Asked again, a fence that was whole says when its pause began, not when it was asked.
    [ -s "$dir/frozen_at_ms" ] && is_frozen "$(cgroup_of "$ct")" 1 || echo "$now_ms" > "$dir/frozen_at_ms"
    read -r frozen_at_ms < "$dir/frozen_at_ms"
    set_frozen "$ct" 1
    unthrottle "$ct" # CRIU's own work in it shall not be slow, nor the limit go along
    await_last_bytes "$pid"
    gate_close
    groups_out "$ct" "$RUN/move/$ct.$token"
    let_in "$ct" > /dev/null 2>&1 9>&- &
    check_fenced "$ct"
    echo "frozen_at_ms $frozen_at_ms"
    echo "quiet_ms $((now_ms - begun_ms))"
    echo "unsent $unsent"
    # A restore asks for what is carried as soon as it has its images, so what is another now has to be there before.
    [ -n "$carried" ] || begin_dump "$RUN/move/$ct.$token"
    echo 'fenced now'
}

lock_for_fence() { # CT TOKEN STATES
    lock
    read_record "$1"
    check_run "$1" "$2"
    [ "$r_void" != "$2" ] ||
        refuse "container $1 was given back, and the fence of token $2 has ended (the watchdog was first)"
    case " $3 " in
        *" $r_state "*) ;;
        *) refuse "container $1 is $r_state and cannot be fenced" ;;
    esac
}

# Where memory is streamed, waits until dump and last pass stand ready, with their receivers: nothing has to start in the
# pause. Not under the lock, for which a receiver on this node may wait. One that has failed will tell that itself.
await_ready() { # MOVE JOB
    [ -p "$1/fence" ] || return 0
    tries=500
    until [ -e "$1/at-dump" ] && [ -e "$1/receiver-ready" ] && [ -e "$1/pass-ready" ]; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] && job_alive "$2.dump" && job_alive "$2.files-final" || return 0
        sleep 0.01
    done
}

# A dump and a last pass that stand ready go on at once; those that do not will find the mark.
begin_dump() { # MOVE
    [ -p "$1/fence" ] || return 0
    : > "$1/fenced"
    exec 7<> "$1/fence" 6<> "$1/pass"
    echo >&7
    printf '\n\n' >&6 # for the pass, and for what holds it back
    exec 6>&- 7>&-
}

# The record alone is no fence: frozen and closed is.
check_fenced() { # CT   (read_net before)
    is_frozen "$(cgroup_of "$1")" 1 && gate_is_closed || fail 12 "container $1 is not frozen behind a closed gate"
}

# Runs on the node alone: at the deadline it gives the container back to itself, unless someone sealed the fence.
# A later lease raises the token but never takes this way back, so the watchdog asks only for the state.
verb_watchdog() { # CT DEADLINE_S
    sleep "$2"
    ct=$1
    close_links "$ct"
    dumps_await "$ct"
    lock_at_last
    read_record "$ct"
    [ "$r_state" = fenced ] || return 0
    give_back
    uptime_ms
    for dir in "$RUN/jobs/$ct".[0-9]*.watchdog; do
        [ ! -d "$dir" ] || echo "$now_ms" > "$dir/given_back_at_ms" || : # how long the pause was is told, if it can be
    done
    echo 'watchdog fired'
}

# The record goes first. A node that died with its container running, and its record saying fenced, would let a recovery
# go on from what the target holds, which is older than what clients have seen. A full disk may not hold it up.
give_back() {
    read_net "$ct"
    r_state=serving r_deadline_s=0
    r_void=$r_token # no fence of this token is ever taken again: what was dumped in the one that ends is old
    until write_record_new "$ct" || write_record_in_place "$ct"; do
        sleep 1 # a disk that takes nothing at all: frozen is safe, running and not written down is not
    done
    if [ "$r_cold" = yes ]; then
        begin_anew "$ct"
        return 0
    fi
    gate_open || :
    set_frozen "$ct" 0
    let_in "$ct" 2> /dev/null || :
    announce "$ct" # a target that was released before this was settled has spoken for the address
}

# Dumps the frozen container, which stays frozen and whole, so that a rollback needs no restore; its memory is on the
# target when this ends.
verb_dump() { # CT TOKEN stream|images
    move=$RUN/move/$1.$2
    read_record "$1"
    check_run "$1" "$2"
    read_net "$1"
    case $3 in
        stream) dump_streamed "$1" "$2" ;;
        images)
            check_fenced "$1"
            dump_images "$1" "$2" ;;
        *) refuse "not a way for memory: $3" ;;
    esac
}

# Started before the fence, to be ready; the fence itself sets it going, and it is asked for once more at the end.
# Pages go to the target as CRIU serves them, and into the restored processes there. CRIU's page server listens to
# everyone, so it gets a network that nobody else is in.
dump_streamed() { # CT TOKEN
    tell_criu "$1" "$(init_pid "$1")"
    code=0
    # GZIP: files in memory are packed by CRIU's tar and gzip, in the pause: three times as fast, for a tenth more bytes.
    # shellcheck disable=SC2046,SC2086
    GZIP=-1 unshare --net sh "$KIT/alone" "$KIT/stream_out.py" "$move" 5< /proc/self/ns/net \
        -- $LINK -o ControlPath="$RUN/links/$1.$2" peer stream \
        -- $RUNC checkpoint --leave-running --tcp-established --file-locks $(last_round "$move") \
        --image-path "$move/images" --work-path "$move/work" "$1" || code=$?
    [ "$code" != 3 ] || fail 1 "CRIU: $(criu_error "$move/work/dump.log")"
    [ "$code" = 0 ] || exit "$code"
    check_fenced "$1"
    cat "$move/result"
}

# Waits until a dump of streamed memory is over, or, where pages follow, until its images are on their way; fails if it has
# failed. That is before its job has ended. Where pages follow, CRIU holds the processes itself as long as it serves
# them, and has let them out of our freezer for that: they go back in, so that they stay where they are if it ends early.
verb_await_dumped() { # CT TOKEN TIMEOUT_S
    check_number "$3"
    read_record "$1"
    check_run "$1" "$2"
    move=$RUN/move/$1.$2
    tries=$3 said=$move/result
    [ ! -e "$move/follows" ] || said=$move/dumped
    exec 7<> "$move/told" # before it looks, so that no word is missed
    until [ -e "$said" ]; do
        [ "$tries" -gt 0 ] && job_alive "$RUN/jobs/$1.$2.dump" || fail 1 "the dump of $1 has ended, or takes too long"
        timeout 1 head -n 1 <&7 > /dev/null || :
        tries=$((tries - 1))
    done
    [ ! -e "$move/follows" ] || set_frozen "$1" 1
    read_net "$1"
    check_fenced "$1"
    cat "$said"
}

# Waits until nearly all of a dump is sent (nearly.py). Whether it is, since what ends before may have failed.
verb_await_nearly() { # CT TOKEN TIMEOUT_S
    check_number "$3"
    read_record "$1"
    check_run "$1" "$2"
    move=$RUN/move/$1.$2
    tries=$3
    exec 7<> "$move/near" # before it looks, so that no word is missed
    until [ -e "$move/nearly" ]; do
        [ "$tries" -gt 0 ] && job_alive "$RUN/jobs/$1.$2.dump" || break
        timeout 1 head -n 1 <&7 > /dev/null || :
        tries=$((tries - 1))
    done
    [ -e "$move/nearly" ] && echo 'nearly yes' || echo 'nearly no'
}

# For nodes that cannot stream: images in memory on both sides. CRIU writes its pages in the last third of a dump, so
# sending while it writes gains nothing. The first pages file, in most containers nearly everything, goes as it is,
# without another process in between; the rest goes beside it.
dump_images() { # CT TOKEN
    pages=$move/images/pages-1.img
    before=$(now_ms)
    GZIP=-1 $RUNC checkpoint --leave-running --tcp-established --file-locks \
        --image-path "$move/images" --work-path "$move/work" "$1" > /dev/null 2> "$move/runc" ||
        fail 1 "CRIU: $(criu_error "$move/work/dump.log")"
    ! is_first_version || python3 -ESsB "$KIT/noted_groups.py" "$move/images" 2> /dev/null || : # a node may have no Python
    dumped=$(now_ms)
    if [ -e "$move/bandwidth" ]; then # one after the other, or they would take it twice
        { images_but_pages | held_back || : > "$move/cut-short"; } | on_link "$1" "$2" images
        { held_back < "$pages" || : > "$move/cut-short"; } | on_link "$1" "$2" pages > "$move/received"
    else
        on_link "$1" "$2" pages < "$pages" > "$move/received" &
        images_but_pages | on_link "$1" "$2" images
        wait "$!"
    fi
    [ ! -e "$move/cut-short" ] || fail 1 'the images could not be read whole'
    check_fenced "$1"
    [ "received $(stat -c %s "$pages")" = "$(cat "$move/received")" ] || fail 1 'the pages did not arrive whole'
    echo "dump_ms $((dumped - before))"
    du -sk "$move/images" | sed 's/\([0-9]*\).*/image_kib \1/'
    echo "send_ms $(($(now_ms) - dumped))"
}

images_but_pages() {
    tar -b 512 -C "$move/images" --exclude=./pages-1.img -cf - . || : > "$move/cut-short"
}

held_back() {
    read -r bytes_per_s < "$move/bandwidth"
    python3 -ESsB "$KIT/pace.py" "$bytes_per_s"
}

# The line of a CRIU log that names the cause: our hook's own, or the last error before CRIU sums up, but for some that it
# always writes.
criu_error() {
    cause=$(grep -aE 'Error \((relock|rearm|conntrack|hook)\)' "$1" 2> /dev/null | tail -n 1 | cut -c 1-300)
    [ -n "$cause" ] || cause=$(grep -a 'Error (' "$1" 2> /dev/null | grep -av -e FAILED -e 'Dump files' \
        -e 'can be ignored' -e RLIMIT_NOFILE -e 'Unable to create tun' -e cgroupd: -e 'Killing processes' \
        -e "Can't remove the directory" |
        tail -n 1 | cut -c 1-300)
    echo "${cause:-it ended without naming an error; it was killed, or out of memory}"
}

# What the container is made of, as seen inside it: processes and sockets. Equal on both sides of a restore.
verb_census() { census "$1"; } # CT

# The source promises that no timer decides any more. Refused if the watchdog was first.
verb_seal() { # CT TOKEN
    ct=$1
    lock
    read_record "$ct"
    check_run "$ct" "$2"
    case $r_state in
        sealed) ;;
        fenced)
            if [ "$r_cold" = yes ]; then
                ! has_processes "$ct" || fail 12 "container $ct is not stopped"
            else
                read_net "$ct"
                check_fenced "$ct"
            fi
            r_state=sealed
            write_record "$ct"
            for dir in "$RUN/jobs/$ct".[0-9]*.watchdog; do
                [ ! -d "$dir" ] || job_kill "$dir" < /dev/null > /dev/null 2>&1 3>&- 4>&- 9>&- & # it would do nothing any more
            done ;;
        *) refuse "the seal is refused: container $ct is $r_state (the watchdog was first)" ;;
    esac
    echo 'sealed yes'
}

# Only after ABORTED: the container runs on, its network first, so that nothing it says is lost.
verb_thaw() { # CT TOKEN [RUN]
    ct=$1
    check_name "$ct"
    read_record "$ct"
    check_token "$ct" "$2" "${3:-}"
    # CRIU is not killed in a dump: it would leave its own code in the processes, and their freezer as it pleases. With
    # the link gone nothing is sent any more, and it ends by itself.
    close_links "$ct"
    dumps_await "$ct"
    lock
    read_record "$ct"
    check_token "$ct" "$2" "${3:-}"
    paused_ms=
    for dir in "$RUN/jobs/$ct".[0-9]*.watchdog; do
        [ -d "$dir" ] || continue
        if [ -s "$dir/given_back_at_ms" ] && [ -s "$dir/frozen_at_ms" ]; then
            paused_ms=$(($(cat "$dir/given_back_at_ms") - $(cat "$dir/frozen_at_ms")))
        fi
        job_kill "$dir"
    done
    case $r_state in
        serving | stopped)
            unthrottle "$ct"
            # The record goes first, so one who died right after it has left the container frozen.
            if has_processes "$ct" && is_frozen "$(cgroup_of "$ct")" 1; then
                give_back
                echo 'thawed now'
            elif [ "$r_state $r_cold" = 'serving yes' ] && ! has_processes "$ct"; then
                begin_anew "$ct" # who gave it back died before it was started, or its node did
                echo 'thawed now'
            else
                echo 'thawed before'
                [ -z "$paused_ms" ] || echo "paused_ms $paused_ms"
            fi ;;
        fenced | sealed)
            [ "$r_cold" = yes ] || has_processes "$ct" ||
                fail 12 "container $ct has no process to thaw: this node went down meanwhile"
            give_back
            echo 'thawed now' ;;
        *) refuse "container $ct is $r_state and is not thawed" ;;
    esac
}

# Only after ABORTED, on a source that went down while it was fenced: its memory is gone, its files may start cold.
verb_reclaim() { # CT TOKEN
    ct=$1
    lock
    read_record "$ct"
    check_token "$ct" "$2"
    case $r_state in
        stopped) ;;
        fenced | sealed)
            ! has_processes "$ct" || refuse "container $ct still has its processes; it is thawed, not started cold"
            stopped_record ;;
        *) refuse "container $ct is $r_state and is not reclaimed" ;;
    esac
}

# Only after SETTLED in favour of the other node, on either side: what runs here stops, whole, and no timer and no start
# brings it back. Taken back by thaw, made final by retire. The generation says that the decision is above this record.
verb_stand_down() { # CT TOKEN GENERATION
    ct=$1
    check_name "$ct"
    check_number "$3"
    read_record "$ct"
    check_token "$ct" "$2"
    close_links "$ct"
    dumps_await "$ct"
    lock
    read_record "$ct"
    check_token "$ct" "$2"
    [ "$3" -gt "$r_generation" ] || refuse "container $ct is of generation $r_generation here; $3 is not above it"
    case $r_state in
        serving | stopped | fenced | sealed | released) ;;
        *) refuse "container $ct is $r_state here and does not run" ;;
    esac
    disarm "$ct"
    r_state=sealed
    if has_processes "$ct"; then
        boot_id
        r_boot=$boot_id
    fi
    write_record "$ct"
    for dir in "$RUN/jobs/$ct".[0-9]*.watchdog; do
        [ ! -d "$dir" ] || job_kill "$dir"
    done
    if has_processes "$ct"; then
        read_net "$ct"
        set_frozen "$ct" 1
        gate_close
        check_fenced "$ct"
    fi
    echo 'stood down'
}

# Only after COMMITTED and the target's release, or after SETTLED and stand-down. The cable goes before the processes: a
# dying copy must not speak.
verb_retire() { # CT TOKEN
    ct=$1
    lock
    read_record "$ct"
    [ "$r_state" != absent ] || return 0
    check_token "$ct" "$2"
    case $r_state in
        sealed) ;;
        fenced) [ "$r_cold" = no ] && ! has_processes "$ct" || refuse "container $ct is fenced and whole, not sealed; it is not removed" ;;
        *) refuse "container $ct is $r_state, not sealed; it is not removed" ;;
    esac
    if [ -e "$CONTAINERS/$ct/net" ]; then # else an earlier try has come so far
        read_net "$ct"
        cut_cable
        let_in "$ct" 2> /dev/null || :
    fi
    keeper_end "$ct"
    end_container "$ct"
    clean_move "$ct" "$2"
    discard_tree "$ct"
    remove_record "$ct" "$2"
    unlock_and_delete
}
