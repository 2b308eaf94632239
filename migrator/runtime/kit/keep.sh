# Restarters: a keeper for each container that is always to run, and the node's boot. Both ask the record first.
#
# A record is *armed* while a restarter may start its container: it serves, it is this node's, no run holds it, and its
# policy says always. A move disarms it on the source before the fence; settle arms it on the side that keeps it. A
# keeper is a process of this node, found by its lock in $RUN/keepers/CT as a job is. It ends itself when the record is
# no longer armed; whoever arms makes a new one.

KEEP_DELAY_S_MAX=60
KEEP_LONG_MS=60000 # a container that ran this long is started again at once

is_armed() { [ "$r_state $r_role $r_run $r_armed" = 'serving owner - yes' ]; }

# Decides whether restarters may act, for the record that is about to be written.
arm() { # CT
    policy=no r_armed=no
    [ ! -e "$CONTAINERS/$1/restart" ] || read -r policy < "$CONTAINERS/$1/restart" || :
    [ "$policy $r_state $r_run" = 'always serving -' ] || return 0
    r_armed=yes
    [ "$(readlink "$DISK/boot")" != "$KIT/boot" ] || return 0
    ln -sfn "$KIT/boot" "$DISK/.boot.new"
    mv -T "$DISK/.boot.new" "$DISK/boot"
    sync "$DISK"
}

# From here on nothing on this node starts the container by itself. The record goes first: a keeper asks it.
disarm() { # CT   (the lock is held and the record read)
    if [ "$r_armed" != no ]; then
        r_armed=no
        write_record "$1"
    fi
    keeper_end "$1"
}

# Makes the keeper of an armed container, unless it lives.
keeper_start() { # CT   (the lock is held and the record read)
    [ "$r_armed" = yes ] || return 0
    ! job_alive "$RUN/keepers/$1" || return 0
    mkdir -p "$RUN/keepers"
    rm -rf "$RUN/keepers/$1"
    detach "$RUN/keepers/$1" keep "$1"
}

keeper_end() { # CT
    job_kill "$RUN/keepers/$1"
}

# The keeper: waits for the container's end and starts it again, the sooner the longer it ran.
verb_keep() { # CT   (fd 8 is the keeper's lock)
    ct=$1
    echo "$$" > "$RUN/keepers/$ct/pid"
    delay_s=0 starts=0 said=watching ran=no
    while :; do
        keeper_says
        ! has_processes "$ct" || ran=yes
        uptime_ms
        since_ms=$now_ms
        await_end "$ct"
        uptime_ms
        [ "$((now_ms - since_ms))" -lt "$KEEP_LONG_MS" ] || delay_s=0
        if [ "$delay_s" -gt 0 ]; then
            said="$said; the next start is $delay_s s after its end"
            keeper_says
            sleep "$delay_s" 8>&-
        fi
        keep_once
        delay_s=$((delay_s * 2 + (delay_s == 0)))
        [ "$delay_s" -le "$KEEP_DELAY_S_MAX" ] || delay_s=$KEEP_DELAY_S_MAX
    done
}

# One start, if the record still wants it. Keepers take turns: after a boot they would all start at the same moment.
keep_once() {
    exec 7> "$RUN/keepers/.turn"
    flock 7
    # At a boot it may run elsewhere, by somebody's word that this node was off.
    taken=
    [ "$ran" = yes ] || taken=$(address_taken "$ct" 2> /dev/null) || :
    lock_at_last
    read_record "$ct"
    boot_id
    is_armed && [ "$r_boot" = "$boot_id" ] || exit 0
    if ! has_processes "$ct"; then
        starts=$((starts + 1))
        if [ -n "$taken" ]; then
            said="it does not start: $taken"
        elif (bring_up "$ct") 7>&- 8>&-; then
            said=watching
            rm -f "$RUN/start.$ct"
        else
            said="it does not start: $(start_error "$ct")"
            (end_container "$ct") 7>&- 8>&- || :
        fi
    fi
    unlock
    exec 7>&-
}

bring_up() { # CT
    : > "$RUN/start.$1"
    end_container "$1" && volumes_or_why "$1" && mount_root "$1" && start_container "$1"
}

# What says why a start failed reads the runtime's own words.
volumes_or_why() { # CT
    fault=$(volumes_there "$1") || {
        echo "level=error msg=\"$fault\"" > "$RUN/start.$1"
        return 1
    }
}

# Waits until a container has no process. By its first one's pid for a minute at a time, lest the number be another's.
await_end() { # CT
    while has_processes "$1"; do
        init=$(init_pid "$1")
        if [ -n "$init" ]; then
            timeout --foreground 60 tail -f /dev/null --pid="$init" -s 0.5 8>&- || :
        else
            sleep 0.2 8>&- # it is ending
        fi
    done
}

# What `probe` tells of this keeper: how often it has started the container, and how it stands.
keeper_says() {
    echo "$starts $said" > "$RUN/keepers/$ct/said.new"
    mv "$RUN/keepers/$ct/said.new" "$RUN/keepers/$ct/said"
}

# At the node's boot, or at any time: each armed container gets its keeper, which starts it if it does not run.
verb_boot() {
    boot_id
    for record in "$RECORDS"/*; do
        [ -e "$record" ] || continue
        ct=${record##*/}
        lock_at_last
        read_record "$ct"
        if is_armed; then
            if [ "$r_boot" != "$boot_id" ]; then
                r_boot=$boot_id
                write_record "$ct"
            fi
            keeper_start "$ct"
            echo "keeper $ct"
        fi
        unlock
    done
}
