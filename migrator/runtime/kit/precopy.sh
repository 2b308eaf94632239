# What is done about memory while a container runs: rounds of pre-copy take it to the target, and huge pages make a dump
# short.

# One round: CRIU freezes the container for a moment, and what was written since the round before goes to the target.
# Only of one that runs: CRIU lets it go on at the end, and one that is fenced must not.
verb_pre_dump() { # CT TOKEN ROUND
    check_number "$3"
    read_record "$1"
    check_run "$1" "$2"
    [ "$r_state" = serving ] || refuse "container $1 is $r_state; its memory is copied only while it runs"
    move=$RUN/move/$1.$2
    mkdir -p "$move/round" # a dump that stands ready has its log open in the other one
    tell_criu "$1" "$(init_pid "$1")" # a round looks for watched files as a dump does
    code=0
    # shellcheck disable=SC2086
    unshare --net sh "$KIT/alone" "$KIT/round_out.py" "$move" "$3" 5< /proc/self/ns/net \
        -- $LINK -o ControlPath="$RUN/links/$1.$2" peer "round $3" \
        -- $RUNC checkpoint --tcp-established --file-locks --work-path "$move/round" "$1" || code=$?
    [ "$code" != 3 ] || fail 1 "CRIU: $(criu_error "$move/round/dump.log")"
    return "$code"
}

# What the last dump builds on: words for the runtime, none without a round. A link, for one more may come when the dump
# stands ready (round_out.py).
last_round() { # MOVE
    [ ! -d "$1/images/pre-last" ] || echo '--parent-path pre-last'
}

# Waits until all that the fence would wait for stands ready, so that one more round leaves little to the pause.
verb_await_ready() { # CT TOKEN
    read_record "$1"
    check_run "$1" "$2"
    await_ready "$RUN/move/$1.$2" "$RUN/jobs/$1.$2"
    echo 'ready now'
}

# Waits until CRIU has let go of a container, by whatever token it was called. Its links are closed before, so that
# nothing is sent any more and it ends by itself.
dumps_await() { # CT
    for dir in "$RUN/jobs/$1".[0-9]*.dump "$RUN/jobs/$1".[0-9]*.pre-dump[0-9]*; do
        [ -d "$dir" ] || continue
        flock -w 60 "$dir/lock" true || job_kill "$dir"
    done
}

# Gathers its memory into huge pages, of which a dump is done sooner (huge_pages.py). Prints how much is in such then.
verb_huge_pages() { # CT TOKEN
    read_record "$1"
    check_run "$1" "$2"
    [ "$r_state" = serving ] || refuse "container $1 is $r_state; its memory is gathered only while it runs"
    ! is_first_version && limited=$(cgroup_of "$1") || limited=$CGROUP/memory/ct/$1
    python3 -ESsB "$KIT/huge_pages.py" "$(cgroup_of "$1")" "$limited"
}

# Holds a container to a part of its CPU time, so that it writes its memory slower than rounds take it away. What it had
# is put back when the pause is over, wherever it then runs, and after an hour if nobody does.
verb_throttle() { # CT TOKEN PERCENT
    check_number "$3"
    lock
    read_record "$1"
    check_run "$1" "$2"
    [ "$r_state" = serving ] || refuse "container $1 is $r_state"
    [ "$3" -ge 1 ] && [ "$3" -le 100 ] || refuse "not a percentage: $3"
    [ -e "$RUN/throttled/$1" ] || {
        time=$(cpu_time_of "$1") || fail 12 "the CPU time of $1 cannot be held back: its cgroup has no cpu controller"
        mkdir -p "$RUN/throttled"
        printf '%s\n' "$time" > "$RUN/throttled/$1.new"
        mv "$RUN/throttled/$1.new" "$RUN/throttled/$1"
    }
    read -r quota period < "$RUN/throttled/$1"
    [ "$quota" != max ] || quota=$(($(nproc) * period))
    quota=$((quota * $3 / 100))
    give_cpu_time "$1" "$((quota < 1000 ? 1000 : quota))" "$period"
    dir=$RUN/jobs/$1.$2.throttle
    job_alive "$dir" || {
        rm -rf "$dir"
        job_start "$dir" 0 unthrottle "$1" 3600
    }
    echo "throttled $3"
}

verb_unthrottle() { # CT AFTER_S   (runs on the node alone, whatever token holds the container by then)
    check_number "$2"
    sleep "$2"
    lock
    unthrottle "$1"
}

unthrottle() { # CT
    [ -e "$RUN/throttled/$1" ] || return 0
    read -r quota period < "$RUN/throttled/$1"
    give_cpu_time "$1" "$quota" "$period"
    rm -f "$RUN/throttled/$1"
}

# What its group has of CPU time, as `QUOTA|max PERIOD`, by whichever version the controller is.
cpu_time_of() { # CT
    if [ -e "$TREE/ct/$1/cpu.max" ]; then
        cat "$TREE/ct/$1/cpu.max"
    else
        read -r quota < "$CGROUP/cpu/ct/$1/cpu.cfs_quota_us" && read -r period < "$CGROUP/cpu/ct/$1/cpu.cfs_period_us" || return 1
        [ "$quota" != -1 ] || quota=max
        echo "$quota $period"
    fi 2> /dev/null
}

give_cpu_time() { # CT QUOTA|max PERIOD   nothing where it has no such group any more
    if [ -e "$TREE/ct/$1/cpu.max" ]; then
        echo "$2 $3" > "$TREE/ct/$1/cpu.max"
    elif [ -e "$CGROUP/cpu/ct/$1/cpu.cfs_quota_us" ]; then
        [ "$2" = max ] && set -- "$1" -1
        echo "$2" > "$CGROUP/cpu/ct/$1/cpu.cfs_quota_us"
    fi
}
