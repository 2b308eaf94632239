# Verbs about who may change what: leases, reservations, the record's last word, cordons.

# Raises a container's token from EXPECT to NEW for a run, and ends everything that older tokens still do here. HOLDER is
# a word of the orchestrator's own: of two that have one journal twice, and so the same run and number, one is refused.
verb_lease() { # CT EXPECT NEW RUN [HOLDER]
    ct=$1
    check_number "$3"
    check_word "$4"
    check_word "${5:--}"
    lock
    read_record "$ct"
    if [ "$r_token" = "$3" ] && [ "$r_run" = "$4" ] && [ "$r_holder" = "${5:--}" ]; then
        echo 'lease had' # the reply to the first try was lost
        return 0
    fi
    [ "$r_token $r_run" != "$3 $4" ] || refuse "container $ct is held by another orchestrator that works on run $r_run; wait for its end, then: migrator resume $r_run"
    # Held by no run it is here as before: a limit was set since, or a move has ended that was not known to begin.
    [ "$r_token" = "$2" ] || [ "$r_run" != - ] ||
        refuse "container $ct was changed since it was looked at (token $r_token, not $2); give the command again"
    [ "$r_token" = "$2" ] || refuse "container $ct is held by run $r_run with token $r_token, not $2"
    [ "$3" -gt "$2" ] || refuse "token $3 is not above $2"
    check_not_cloned "$ct"
    if [ "$r_state" = absent ]; then
        floor_of "$ct"
        [ "$3" -gt "$floor" ] || refuse "token $3 of container $ct is past: its record with token $floor was removed here"
    fi
    memory_follows "$ct" || end_access "$ct" "$3"
    jobs_kill_older "$ct" "$3"
    r_token=$3 r_run=$4 r_holder=${5:--}
    if [ "$r_state" = absent ]; then
        r_state=reserved r_role=target
        boot_id
        r_boot=$boot_id
    fi
    write_record "$ct"
    echo 'lease taken'
}

# Some jobs stay: the watchdog, the container's way back if this orchestrator dies too; a restore, which runs nothing
# without a release; a dump, which must not be killed half-way and sends nothing once its link is gone; and memory that
# follows what runs already.
jobs_kill_older() { # CT TOKEN
    for dir in "$RUN/jobs/$1".[0-9]*.*; do
        [ -d "$dir" ] || continue
        rest=${dir##*/}
        rest=${rest#"$1".}
        case $rest in
            *.watchdog | *.restore | *.dump | *.pre-dump* | *.throttle) continue ;;
        esac
        ! { [ -e "$dir/stream" ] && memory_follows "$1"; } || continue
        [ "${rest%%.*}" -ge "$2" ] || job_kill "$dir"
    done
}

# Takes room for a container that will come. The ledger is the records themselves: every one carries what it holds.
verb_reserve() { # CT TOKEN MEMORY_BYTES CPU_MILLI DISK_BYTES CAP_MEMORY CAP_CPU CAP_DISK
    token=$2
    ct=$1
    shift 2
    for number in "$@"; do
        check_number "$number"
    done
    set -- "$ct" "$token" "$@"
    lock
    read_record "$ct"
    check_run "$ct" "$2"
    check_room "$3" "$4" "$5" "$6" "$7" "$8"
    read_record "$ct"
    r_memory_bytes=$3 r_cpu_milli=$4 r_disk_bytes=$5
    write_record "$ct"
}

check_room() { # MEMORY_BYTES CPU_MILLI DISK_BYTES CAP_MEMORY CAP_CPU CAP_DISK
    others_hold
    free_memory=$(($4 > used_memory ? $4 - used_memory : 0))
    free_cpu=$(($5 > used_cpu ? $5 - used_cpu : 0))
    free_disk=$(($6 > used_disk ? $6 - used_disk : 0))
    [ "$1" -le "$free_memory" ] ||
        refuse "no room: $ct needs $(($1 >> 20)) MiB of memory, $((free_memory >> 20)) MiB are free"
    [ "$2" -le "$free_cpu" ] || refuse "no room: $ct needs $(cpus "$2") CPUs, $(cpus "$free_cpu") are free"
    [ "$3" -le "$free_disk" ] ||
        refuse "no room: $ct needs $(($3 >> 20)) MiB of disk, $((free_disk >> 20)) MiB are free"
}

# What all records but this container's hold together; its own is read again at the end.
others_hold() { # fills used_memory, used_cpu and used_disk
    used_memory=0 used_cpu=0 used_disk=0
    for record in "$RECORDS"/*; do
        [ -e "$record" ] || continue
        [ "${record##*/}" != "$ct" ] || continue
        read_record "${record##*/}"
        used_memory=$((used_memory + r_memory_bytes))
        used_cpu=$((used_cpu + r_cpu_milli))
        used_disk=$((used_disk + r_disk_bytes))
    done
    read_record "$ct"
}

cpus() { printf '%d.%02d' "$(($1 / 1000))" "$(($1 % 1000 / 10))"; } # MILLI

# The last write of a migration on the side that keeps the container: it serves, and no run holds it.
verb_settle() { # CT TOKEN GENERATION [RUN]
    ct=$1
    check_number "$2"
    check_number "$3"
    lock
    read_record "$ct"
    if [ "$r_run" = - ] && [ "$r_state" != absent ] && [ "$r_token" -le "$2" ]; then
        settle_unleased "$2"
        return 0
    fi
    check_token "$ct" "$2" "${4:-}"
    case $r_state in
        serving | stopped | released) ;;
        *) refuse "container $ct is $r_state and cannot be settled" ;;
    esac
    clean_move "$ct" "$2" # before the record: one that says settled is not asked again
    [ "$r_state" != released ] || r_state=serving
    [ "$r_generation" -ge "$3" ] || r_generation=$3
    boot_id
    r_role=owner r_run=- r_holder=- r_deadline_s=0 r_void=0 r_cold=no r_boot=$boot_id
    arm "$ct"
    write_record "$ct"
    keeper_start "$ct"
    echo 'settled now'
}

# Settled before, or never leased: then the lease may still be on its way, and must find that it is past.
settle_unleased() { # TOKEN
    if [ "$r_token" -lt "$1" ]; then
        r_token=$1
        write_record "$ct"
    fi
    keeper_start "$ct"
    echo 'settled before'
}

# Everything about a move that dies with it: jobs, images, key, link. The record and the container stay.
clean_move() { # CT TOKEN
    end_access "$1"
    jobs_kill "$1"
    for dir in "$RUN/move/$1".[0-9]*; do
        [ -d "$dir" ] || continue
        [ "${dir##*.}" -le "$2" ] || continue
        forget_criu_root "$dir/work/restore.log" # a restore that was ended from outside could not
        remove_tree "$dir"
    done
    rm -rf "$DISK/templates/.part-$1".[0-9]*
}

# What this node knows of one container, for recovery: the record, and what is really there.
verb_inspect() { # CT
    ct=$1
    read_record "$ct"
    boot_id
    for key in state token generation run role armed memory_bytes; do
        eval "echo \"$key \$r_$key\""
    done
    [ "$r_cold" != yes ] || echo 'cold yes'
    floor_of "$ct" # if others' lines are folded before the lease comes, that is refused at most, and asked for again
    echo "floor $floor"
    [ "$r_boot" = "$boot_id" ] && echo 'same_boot yes' || echo 'same_boot no'
    if has_processes "$ct"; then
        is_frozen "$(cgroup_of "$ct")" 1 && echo 'processes frozen' || echo 'processes running'
    else
        echo 'processes none'
    fi
    if [ -e "$CONTAINERS/$ct/net" ]; then
        read_net "$ct"
        gate_is_open && echo 'gate open' || echo 'gate closed'
    fi
    for move in "$RUN/move/$ct".[0-9]*; do
        [ -d "$move" ] || continue
        echo "move ${move##*.}"
    done
    ! is_held "$ct" || echo 'held yes'
    memory_told "$ct"
    for dir in "$RUN/jobs/$ct".[0-9]*; do
        [ -d "$dir" ] || continue
        job_alive "$dir" && echo "job_running ${dir##*/}" || echo "job_ended ${dir##*/}"
    done
}

# A mark on the node itself, seen by every orchestrator: nothing new is placed here.
verb_cordon() { # RUN
    check_word "$1"
    lock
    printf '%s\n' "$1" > "$DISK/.cordon.new"
    mv "$DISK/.cordon.new" "$DISK/cordon"
    sync "$DISK"
}

verb_uncordon() {
    lock
    rm -f "$DISK/cordon"
    sync "$DISK"
}
