# What containers a node has, and what they hold: one program looks at all of them, for there may be hundreds.

# What making, listing and finding containers asks for: as the probe, without what a migration would ask of a machine.
verb_survey() { # [NAME=PATH...]
    tell_room
    echo "boot_id $(cat /proc/sys/kernel/random/boot_id)"
    (tell_cgroup)
    tell_places "$@"
    tell_containers
    tell_pressure
    echo "time_ms $(now_ms)"
    echo 'end probe'
}

tell_room() {
    echo "cpus $(nproc)"
    awk '$1 == "MemTotal:" { printf "memory_bytes %.0f\n", $2 * 1024 }
        $1 == "MemAvailable:" { printf "memory_available_bytes %.0f\n", $2 * 1024 }' /proc/meminfo
    df -Pk "$DISK" | awk 'NR == 2 { printf "disk_bytes %.0f\ndisk_available_bytes %.0f\n", $2 * 1024, $4 * 1024 }'
    df -Pi "$DISK" | awk 'NR == 2 { print "inodes_available", $4 }'
}

# Bridges, templates, volumes, devices, and whether anything may come here at all.
tell_places() { # [NAME=PATH...]
    for bridge in /sys/class/net/*/bridge; do
        [ ! -d "$bridge" ] || { bridge=${bridge%/bridge}; echo "bridge ${bridge##*/}"; }
    done
    [ ! -e "$DISK/cordon" ] || echo "cordon $(head -n 1 "$DISK/cordon")"
    for template in "$DISK"/templates/*/digest; do
        [ -e "$template" ] || continue
        digest=
        read -r digest < "$template" || :
        at=${template%/digest} && at=${at##*/}
        current_of "${at%%@*}"
        # What new containers are made from, and what others stand on, whatever their places.
        [ "$place" = "$at" ] && key=template || key=kept-template
        echo "$key ${at%%@*} $digest"
    done
    for volume in "$@"; do
        check_name "${volume%%=*}"
        { fault=$(volume_fault "${volume#*=}") && echo "volume ${volume%%=*} ${fault:-yes}"; } & # one may take its time
    done
    wait
    tell_devices
}

# Used memory: pages that processes share count once (Pss). Dumped: CRIU writes private pages of every process, also those
# that a fork still shares, and shared memory once.
tell_containers() {
    any_is_there "$RECORDS"/* || return 0
    # Records first: what starts meanwhile may run without one that says so, and what ends has ended.
    { grep -s '=' /dev/null "$RECORDS"/* || :; tell_processes; } |
        awk -v containers="$CONTAINERS" -v records="$RECORDS/" '
        index($0, records) == 1 {
            at = index($0, ":")
            ct = substr($0, length(records) + 1, at - length(records) - 1)
            key = substr($0, at + 1)
            at = index(key, "=")
            r[ct, substr(key, 1, at - 1)] = substr(key, at + 1)
            if (ct != last) order[++count] = last = ct
            next
        }
        $1 == "process" { of[$3] = $2; lives[$2] = 1; next }
        { split($0, path, "/") }
        path[2] == "sys" { port[path[5]] = 1; next }
        /:Pss:/ { used[of[path[3]]] += $2; next }
        { dumped[of[path[3]]] += $2 }
        function field(key, without) { return (ct, key) in r ? r[ct, key] : without }
        function tell(  path, line, f, end, ends, gate) {
            print "container", ct, field("state", "absent"), field("token", 0), field("generation", 0), \
                ct in lives ? "yes" : "no", field("run", "-")
            print "holds", ct, field("memory_bytes", 0), field("cpu_milli", 0), field("disk_bytes", 0)
            if (ct in lives) {
                path = containers "/" ct "/net"
                ends = 0
                while ((getline line < path) > 0)
                    if (line ~ /^veth /) end[++ends] = substr(line, 6)
                    else if (line ~ /^nic /) { split(line, f, ","); end[++ends] = f[2] }
                close(path)
                gate = ends ? "open" : ""
                for (; ends; ends--) if (!(end[ends] in port)) gate = "closed"
                if (gate != "") print "gate", ct, gate
                printf "memory %s %.0f %.0f\n", ct, used[ct] * 1024, dumped[ct] * 1024
            }
            path = containers "/" ct "/descriptor.json"
            if ((getline line < path) > 0) print "descriptor", ct, substr(line, 1, 100000)
            close(path)
        }
        END { for (i = 1; i <= count; i++) { ct = order[i]; tell() } }'
    tell_keepers
}

# "process CT PID" for each, then what its memory is, then which cables are in a bridge. What may go while it is read, as a
# process does all the time, is read by grep, which passes over it: awk would end there.
tell_processes() {
    pids=$(own_pids; deep_pids)
    [ -z "$pids" ] || printf '%s\n' "$pids" | sed 's/^/process /'
    printf '%s\n' "$pids" | sed -n 's|.* \(.*\)|/proc/\1/status /proc/\1/smaps_rollup|p' |
        xargs grep -sE '^(RssAnon|Pss|Pss_Shmem):' /dev/null || :
    grep -s . /dev/null /sys/class/net/*/brport/state || :
}

# "CT PID" for those whose processes are in their own group, and for those whose are in groups below it.
own_pids() {
    grep -s . /dev/null "$CGROUP"/ct/*/cgroup.procs | sed -n "s|^$CGROUP/ct/\(.*\)/cgroup.procs:|\1 |p"
}

deep_pids() {
    for init in "$CONTAINERS"/*/init; do
        [ -e "$init" ] || continue
        ct=${init%/init} ct=${ct##*/}
        pids_of "$ct" | sed "s/^/$ct /"
    done
}

tell_keepers() {
    for record in $(grep -l '^armed=yes$' "$RECORDS"/* 2> /dev/null); do
        ct=${record##*/} keeper=$RUN/keepers/${record##*/}
        if job_alive "$keeper" && [ -s "$keeper/said" ]; then
            echo "keeper $ct $(tr -cd '[:print:]' < "$keeper/said")"
        else
            echo "keeper $ct 0 gone; make it anew: migrator ct start $ct"
        fi
    done
    for keeper in "$RUN"/keepers/*; do
        ct=${keeper##*/}
        [ -d "$keeper" ] && [ -e "$RECORDS/$ct" ] && ! grep -q '^armed=yes$' "$RECORDS/$ct" || continue
        ! job_alive "$keeper" || [ ! -s "$keeper/said" ] || echo "keeper $ct $(tr -cd '[:print:]' < "$keeper/said")"
    done
}

tell_files() {
    any_is_there "$CONTAINERS"/*/upper || return 0
    timeout 15 du -sxk "$CONTAINERS"/*/upper "$CONTAINERS"/*/disks/* 2> /dev/null | awk -v containers="$CONTAINERS/" '{
        split(substr($0, index($0, containers) + length(containers)), part, "/")
        if (part[2] == "disks") printf "own-volume %s/%s %.0f\n", part[1], part[3], $1 * 1024
        files[part[1]] += $1
    }
    END { for (ct in files) printf "files %s %.0f\n", ct, files[ct] * 1024 }'
}

# Pages that the kernel may drop (MAP_DROPPABLE, since Linux 6.11), in which glibc 2.41 and later keep the state of their
# random numbers. CRIU maps them as they were, and a kernel before that refuses.
tell_needs() {
    kernel_is 6 11 || return 0
    for group in "$CGROUP"/ct/*/cgroup.procs; do
        ct=${group%/cgroup.procs}
        ct=${ct##*/}
        [ -e "$RECORDS/$ct" ] || continue
        pids=
        if is_delegated "$ct"; then
            pids=$(pids_of "$ct" | sed 's|.*|/proc/&/smaps|')
        else
            while read -r pid; do
                pids="$pids /proc/$pid/smaps"
            done 2> /dev/null < "$group" || :
        fi
        [ -z "$pids" ] || ! grep -qs '^VmFlags:.* dp' $pids || echo "needs $ct map_droppable"
    done
}
