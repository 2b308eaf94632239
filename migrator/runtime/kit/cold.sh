# Moves by restart: the container is stopped on its source, and begins anew on its target from its files.
#
# A record that says cold=yes is one of such a move. On a source it means: stopped for the move, or being stopped, and
# whole in its files, whatever became of its processes; what gives it back starts it. On a target: made from files.

# The fence of such a move. The watchdog stands first, as ever; then the container is asked to end by its stop signal, and what is
# left of it after GRACE_S is killed. Nobody waits for that under the node's lock. Its gate stays open until it has ended:
# it may say goodbye.
verb_stop() { # CT TOKEN DEADLINE_S GRACE_S
    ct=$1 token=$2
    check_number "$3"
    check_number "$4"
    lock
    read_to_stop
    dir=$RUN/jobs/$ct.$token.watchdog
    if [ "$r_state $r_cold" != 'fenced yes' ]; then
        has_processes "$ct" || fail 12 "container $ct has no processes"
    fi
    boot_id
    r_state=fenced r_cold=yes r_boot=$boot_id r_deadline_s=$3 r_armed=no
    write_record "$ct"
    keeper_end "$ct"
    if ! job_alive "$dir"; then
        rm -rf "$dir"
        job_start "$dir" 0 watchdog "$ct" "$3"
    fi
    ask_to_end "$4"
    unlock
    [ -z "$wait_s" ] || timeout "$wait_s" tail -f /dev/null --pid="$pid" -s 0.02 || :
    lock
    read_to_stop
    [ "$r_state" = fenced ] || refuse "container $ct is $r_state and is not stopped any more (the watchdog was first)"
    killed=no
    ! has_processes "$ct" || killed=yes
    end_container "$ct"
    take_cable "$ct"
    unmount_root "$ct" || : # an operator who stands in it holds up nothing
    uptime_ms
    # Asked again, one that was stopped says how it was then.
    [ -s "$dir/stopped" ] || printf 'stop_ms %s\nkilled %s\n' "$((now_ms - frozen_at_ms))" "$killed" > "$dir/stopped"
    echo "frozen_at_ms $frozen_at_ms"
    cat "$dir/stopped"
}

# Asked again after the wait: a lease, a thaw or the watchdog may have come meanwhile.
read_to_stop() {
    read_record "$ct"
    check_run "$ct" "$token"
    [ "$r_void" != "$token" ] ||
        refuse "container $ct was given back, and the stop of token $token has ended (the watchdog was first)"
    case $r_state in
        serving | fenced) ;;
        *) refuse "container $ct is $r_state and cannot be stopped" ;;
    esac
}

# Says its stop signal once, however often it is asked, while the lock keeps everybody from starting it anew; sets how long to wait
# for whom. Files that are open now are looked at once more by the last pass: nobody can tell afterwards which they were.
ask_to_end() { # GRACE_S
    uptime_ms
    wait_s=
    [ -s "$dir/frozen_at_ms" ] || echo "$now_ms" > "$dir/frozen_at_ms"
    read -r frozen_at_ms < "$dir/frozen_at_ms"
    pid=
    ! has_processes "$ct" || pid=$(init_pid "$ct")
    [ -n "$pid" ] || return 0
    if [ ! -e "$dir/asked-to-end" ]; then
        if [ -d "$RUN/move/$ct.$token" ]; then # else nothing was prepared, and no pass will ask
            mapped_files "$ct" >> "$RUN/move/$ct.$token/mapped-files"
            written_files "$ct" >> "$RUN/move/$ct.$token/written-files"
        fi
        : > "$dir/asked-to-end"
        signal=$(stop_signal "$ct")
        hears "$pid" "$signal" && $RUNC kill "$ct" "$signal" 2> /dev/null || : > "$dir/deaf"
    fi
    rest_ms=$((frozen_at_ms + $1 * 1000 - now_ms))
    [ -e "$dir/deaf" ] || [ "$rest_ms" -le 0 ] || wait_s=$(printf '%d.%03d' "$((rest_ms / 1000))" "$((rest_ms % 1000))")
}

# Gives a stopped container back to its source: whatever is left of it ends, and it starts from its files. One that does
# not start is told, and stays what its record says: nothing of a move holds it any more.
begin_anew() { # CT
    : > "$RUN/start.$1"
    if ! (bring_up "$1") 7>&- 8>&-; then
        printf 'start_error %s\n' "$(start_error "$1")"
        (end_container "$1") 7>&- 8>&- || :
    fi
    rm -f "$RUN/start.$1"
}

# On the target: the container is created, its gate closed, and its first process waits inside the runtime. That shows
# before the commit that it can be made here.
create_held() { # (ct and move are set)
    fault=$(volumes_there "$ct") || fail 12 "$fault"
    mount_root "$ct" || fail 1 "the root of $ct could not be mounted"
    open_groups "$ct"
    $RUNC create --bundle "$CONTAINERS/$ct" "$ct" < /dev/null > /dev/null 2> "$RUN/start.$ct" 7>&- 8>&- || {
        said=$(start_error "$ct")
        rm -f "$RUN/start.$ct"
        fail 1 "runc: ${said:-it gave no reason}"
    }
    rm -f "$RUN/start.$ct"
    : > "$move/created"
    count_processes "$ct" > "$move/held.new"
    mv "$move/held.new" "$move/held"
}

is_created() { # CT
    for created in "$RUN/move/$1".[0-9]*/created; do
        [ ! -e "$created" ] || return 0
    done
    return 1
}

# Lets what was created begin, its gate first. After a reboot of this node, whose container it is by its record, it is made
# anew. Asked again it does nothing: what began, and has ended, has ended.
let_begin() { # CT   (the record says released)
    status=$($RUNC state "$1" 2> /dev/null | sed -n 's/.*"status": "\([a-z]*\)".*/\1/p')
    case $status in
        created)
            read_net "$1"
            gate_open 2> /dev/null || echo "gate_error $(gate_error)"
            $RUNC start "$1" < /dev/null > /dev/null 2>&1 3>&- 4>&- 9>&- || : ;;
        '')
            boot_id
            if [ "$r_boot" != "$boot_id" ]; then
                r_boot=$boot_id
                write_record "$1"
            fi
            begin_anew "$1" ;;
    esac
    for held in "$RUN/move/$1".[0-9]*/created; do
        [ ! -e "$held" ] || echo ended > "${held%/created}/ended"
    done
}
