# Verbs of a migration's source.

# Makes the key of this one migration, in memory, and prints its public half, and the address it will come from.
verb_keygen() { # CT TOKEN PEER_HOST
    ct=$1
    lock
    read_record "$ct"
    check_token "$ct" "$2"
    key=$RUN/keys/$ct.$2
    [ -e "$key" ] || ssh-keygen -q -t ed25519 -N '' -C "migrator:$ct.$2" -f "$key"
    read -r kind public _ < "$key.pub"
    echo "key $kind $public"
    peer=$(getent ahosts "$3" | sed -n '1s/ .*//p')
    [ -n "$peer" ] || fail 1 "node to node: the name $3 is not known here; declare a migration_address"
    ip route get "$peer" | sed -n 's/.* src \([0-9a-f.:]*\).*/address \1/p'
}

# Opens the one connection that everything of this migration goes through; it ends by itself when idle.
verb_link() { # CT TOKEN USER ADDRESS PORT HOST_KEY_TYPE HOST_KEY
    ct=$1 token=$2
    check_name "$ct"
    read_record "$ct"
    check_token "$ct" "$token"
    socket=$RUN/links/$ct.$token
    [ ! -S "$socket" ] || ! ssh -F /dev/null -S "$socket" -O check peer 2> /dev/null || return 0
    rm -f "$socket"
    known=$RUN/keys/$ct.$token.known
    echo "peer $6 $7" > "$known"
    answer=$(ssh -F /dev/null -i "$RUN/keys/$ct.$token" -o IdentitiesOnly=yes -o BatchMode=yes \
        -o HostKeyAlias=peer -o UserKnownHostsFile="$known" -o StrictHostKeyChecking=yes \
        -o GlobalKnownHostsFile=/dev/null -o ConnectTimeout=10 -o ServerAliveInterval=5 -o ServerAliveCountMax=3 \
        -o ControlMaster=yes -o ControlPath="$socket" -o ControlPersist=900 \
        -o Ciphers=aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com \
        -p "$5" "$3@$4" ping < /dev/null)
    [ "$answer" = pong ] || fail 1 "node to node: $4 answered something else than Migrator"
    # A connection that has carried nothing yet sends its first megabytes slowly (measured: 100 ms of 256 MiB); that
    # time is spent here and not in the pause.
    head -c 4194304 /dev/zero | on_link "$ct" "$token" warm-up
}

on_link() { # CT TOKEN COMMAND   (no host is looked up: the connection stands)
    ssh -F /dev/null -o BatchMode=yes -o ControlMaster=no -o ControlPath="$RUN/links/$1.$2" peer "$3"
}

# One rsync pass of the container's own files (the overlay's upper layer) while it runs, or, frozen, the last one.
# Whatever the times say, files that were open for writing or mapped shared and writable at any pass are compared
# by content: a second write through a mapping changes no time at all.
verb_send_files() { # CT TOKEN PASS   (PASS: a name; "final" once frozen)
    ct=$1 token=$2
    check_name "$ct"
    move=$RUN/move/$ct.$token
    shell="ssh -F /dev/null -o BatchMode=yes -o ControlMaster=no -o ControlPath=$RUN/links/$ct.$token"
    open_files "$ct" >> "$move/open-files"
    before=$(now_ms)
    # trusted.overlay.origin names an inode of this node's own template: it means nothing elsewhere.
    code=0
    rsync -aHAXS --numeric-ids --delete --modify-window=-1 --stats --filter='-x trusted.overlay.origin' \
        -e "$shell" "$CONTAINERS/$ct/upper/" peer:files > "$move/stats" || code=$?
    # 24: a file vanished while the container ran; the next pass sees it gone. Frozen, nothing vanishes.
    [ "$code" = 0 ] || { [ "$code" = 24 ] && [ "$3" != final ]; } || fail 1 "rsync ended with $code"
    if [ "$3" = final ]; then
        # The peer may have received some of these under an equal size and time: compare contents.
        sort -u "$move/open-files" | while IFS= read -r name; do
            [ ! -f "$CONTAINERS/$ct/upper/$name" ] || [ -h "$CONTAINERS/$ct/upper/$name" ] || printf '%s\0' "$name"
        done > "$move/open-list"
        if [ -s "$move/open-list" ]; then
            rsync -aHAXS --numeric-ids --ignore-times --inplace --from0 --files-from="$move/open-list" \
                --filter='-x trusted.overlay.origin' -e "$shell" "$CONTAINERS/$ct/upper/" peer:files
        fi
    fi
    sed -n 's/^Total transferred file size: \([0-9,]*\).*/bytes \1/p; s/^Total bytes sent: \([0-9,]*\).*/sent \1/p' \
        "$move/stats" | tr -d ,
    echo "ms $(($(now_ms) - before))"
}

verb_send_template() { # CT TOKEN TEMPLATE
    ct=$1 token=$2
    check_name "$ct"
    check_name "$3"
    shell="ssh -F /dev/null -o BatchMode=yes -o ControlMaster=no -o ControlPath=$RUN/links/$ct.$token"
    rsync -aHAXS --numeric-ids --delete -e "$shell" "$DISK/templates/$3/" peer:template
}

# Paths, inside the container, of files that some process has open for writing or mapped shared and writable.
verb_open_files() { check_name "$1"; open_files "$1"; }

open_files() { # CT
    while read -r pid; do
        # Descriptors whose flags end in 1 or 2 are O_WRONLY or O_RDWR.
        grep -l '^flags:.*[12]$' /proc/"$pid"/fdinfo/* 2> /dev/null | while read -r info; do
            readlink "/proc/$pid/fd/${info##*/}" || :
        done
        sed -n 's/^[0-9a-f-]* .w.s [0-9a-f]* [0-9a-f:]* [1-9][0-9]* *\//\//p' "/proc/$pid/maps" 2> /dev/null || :
    done < "$(cgroup_of "$1")/cgroup.procs" | sed -n 's/^\/\(.*\)$/\1/p' | sort -u
}

# The fence: freeze, gate closed, and a watchdog on this node that undoes both at the deadline.
verb_fence() { # CT TOKEN DEADLINE_S
    ct=$1 token=$2
    check_number "$3"
    lock
    read_record "$ct"
    check_token "$ct" "$token"
    case $r_state in
        serving | fenced) ;; # fenced: the first try may have died on the way, so all of it is done again
        *) refuse "container $ct is $r_state and cannot be fenced" ;;
    esac
    has_processes "$ct" || fail 12 "container $ct has no processes"
    read_net "$ct"
    boot_id
    r_state=fenced r_boot=$boot_id r_deadline_s=$3
    write_record "$ct"
    dir=$RUN/jobs/$ct.$token.watchdog
    if [ ! -d "$dir" ] || ! job_alive "$dir"; then
        [ ! -d "$dir" ] || job_kill "$dir"
        job_start "$dir" watchdog "$ct" "$3"
    fi
    uptime_ms
    frozen_at_ms=$now_ms
    set_frozen "$ct" 1
    gate_close
    check_fenced "$ct"
    echo "frozen_at_ms $frozen_at_ms"
    echo 'fenced now'
}

# The record alone is no fence: frozen and closed is.
check_fenced() { # CT   (read_net before)
    is_frozen "$(cgroup_of "$1")" 1 && ! gate_is_open || fail 12 "container $1 is not frozen behind a closed gate"
}

# Runs on the node alone: at the deadline it gives the container back to itself, unless someone sealed the fence.
# A later lease raises the token but never takes this way back, so the watchdog asks only for the state.
verb_watchdog() { # CT DEADLINE_S
    sleep "$2"
    ct=$1
    close_links "$ct"
    job_await "$ct" dump
    lock_at_last
    read_record "$ct"
    [ "$r_state" = fenced ] || return 0
    give_back
    echo 'watchdog fired'
}

give_back() {
    read_net "$ct"
    gate_open || :
    set_frozen "$ct" 0
    r_state=serving r_deadline_s=0
    write_record "$ct"
}

# Dumps the frozen container, which stays frozen and whole, so that a rollback needs no restore; then sends the images.
# CRIU writes its pages in the last third of a dump, so sending while it writes gains nothing. The first pages file, in
# most containers nearly everything, goes as it is, without another process in between; the rest goes beside it.
verb_dump() { # CT TOKEN
    move=$RUN/move/$1.$2
    read_net "$1"
    check_fenced "$1"
    pages=$move/images/pages-1.img
    before=$(now_ms)
    $RUNC checkpoint --leave-running --tcp-established --file-locks \
        --image-path "$move/images" --work-path "$move/work" "$1" > /dev/null 2> "$move/runc" ||
        fail 1 "CRIU: $(criu_error "$move/work/dump.log")"
    dumped=$(now_ms)
    on_link "$1" "$2" pages < "$pages" > "$move/received" &
    { tar -b 512 -C "$move/images" --exclude=./pages-1.img -cf - . || : > "$move/cut-short"; } | on_link "$1" "$2" images
    wait "$!"
    [ ! -e "$move/cut-short" ] || fail 1 'the images could not be read whole'
    check_fenced "$1"
    [ "received $(stat -c %s "$pages")" = "$(cat "$move/received")" ] || fail 1 'the pages did not arrive whole'
    echo "dump_ms $((dumped - before))"
    du -sk "$move/images" | sed 's/\([0-9]*\).*/image_kib \1/'
    echo "send_ms $(($(now_ms) - dumped))"
}

# The line of a CRIU log that names the cause: the last error before CRIU sums up, but for two that it always writes.
criu_error() {
    cause=$(grep -a 'Error (' "$1" 2> /dev/null | grep -av -e FAILED -e RLIMIT_NOFILE -e 'Unable to create tun' -e cgroupd: |
        tail -n 1 | cut -c 1-300)
    echo "${cause:-it ended without naming an error; it was killed, or out of memory}"
}

# What the container is made of, as seen inside it: processes and sockets. Equal on both sides of a restore.
verb_census() { # CT
    check_name "$1"
    processes "$1" | while read -r _ inner; do
        echo "process $inner"
    done | sort
    in_network "$(init_pid "$1")" ss -Htanu state established state listening state unconnected |
        awk '{ print "socket", $1, $2, $5, $6 }' | sort
}

# The source promises that no timer decides any more. Refused if the watchdog was first.
verb_seal() { # CT TOKEN
    ct=$1
    lock
    read_record "$ct"
    check_token "$ct" "$2"
    case $r_state in
        sealed) ;;
        fenced)
            read_net "$ct"
            check_fenced "$ct"
            r_state=sealed
            write_record "$ct"
            for dir in "$RUN/jobs/$ct".[0-9]*.watchdog; do
                [ ! -d "$dir" ] || job_kill "$dir"
            done ;;
        *) refuse "the seal is refused: container $ct is $r_state (the watchdog was first)" ;;
    esac
    echo 'sealed yes'
}

# Only after ABORTED: the container runs on, its network first, so that nothing it says is lost.
verb_thaw() { # CT TOKEN
    ct=$1
    check_name "$ct"
    read_record "$ct"
    check_token "$ct" "$2"
    # CRIU is not killed in a dump: it would leave its own code in the processes, and their freezer as it pleases. With
    # the link gone nothing is sent any more, and it ends by itself.
    close_links "$ct"
    job_await "$ct" dump
    lock
    read_record "$ct"
    check_token "$ct" "$2"
    for dir in "$RUN/jobs/$ct".[0-9]*.watchdog; do
        [ ! -d "$dir" ] || job_kill "$dir"
    done
    case $r_state in
        serving | stopped) echo 'thawed before' ;;
        fenced | sealed)
            has_processes "$ct" || fail 12 "container $ct has no process to thaw: this node went down meanwhile"
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
            r_state=stopped
            write_record "$ct" ;;
        *) refuse "container $ct is $r_state and is not reclaimed" ;;
    esac
}

# Only after COMMITTED and the target's release. The cable goes before the processes: a dying copy must not speak.
verb_retire() { # CT TOKEN
    ct=$1
    lock
    read_record "$ct"
    [ "$r_state" != absent ] || return 0
    check_token "$ct" "$2"
    boot_id
    case $r_state in
        sealed) ;;
        fenced) # with the boot the frozen copy went, and the timer that could have thawed it
            { [ "$r_boot" != "$boot_id" ] && ! has_processes "$ct"; } ||
                refuse "container $ct is fenced, not sealed; it is not removed" ;;
        *) refuse "container $ct is $r_state, not sealed; it is not removed" ;;
    esac
    if [ -e "$CONTAINERS/$ct/net" ]; then # else an earlier try has come so far
        read_net "$ct"
        cut_cable
    fi
    end_container "$ct"
    clean_move "$ct" "$2"
    discard_tree "$ct"
    remove_record "$ct"
    unlock_and_delete
}
