# What containers a node has, and what they hold: one program looks at all of them, for there may be hundreds.

# What making, listing and finding containers asks for: as the probe, without what a migration would ask of a machine.
verb_survey() { # [NAME=PATH...]
    tell_room
    boot_id
    echo "boot_id $boot_id"
    (tell_cgroup)
    tell_places "$@"
    tell_containers
    tell_pressure
    echo "time_ms $(now_ms)"
    echo 'end probe'
}

# Who is here, as described: enough to find out whether two have been made at once with one name, address or range.
verb_described() {
    set --
    for ct in "$RECORDS"/*; do
        [ ! -e "$ct" ] || set -- "$@" "$CONTAINERS/${ct##*/}/descriptor.json"
    done
    awk 'BEGIN {
        for (i = 1; i < ARGC; i++) {
            ct = ARGV[i]
            sub(/\/[^\/]*$/, "", ct)
            sub(/.*\//, "", ct)
            if ((getline line < ARGV[i]) > 0) print "descriptor", ct, substr(line, 1, 100000)
            close(ARGV[i])
        }
    }' "$@"
    echo 'end described'
}

tell_room() {
    echo "cpus $(nproc)"
    awk '$1 == "MemTotal:" { printf "memory_bytes %.0f\n", $2 * 1024 }
        $1 == "MemAvailable:" { printf "memory_available_bytes %.0f\n", $2 * 1024 }' /proc/meminfo
    # shellcheck disable=SC2046
    set -- $(stat -f -c '%S %b %a %d' "$DISK")
    echo "disk_bytes $(($1 * $2))"
    echo "disk_available_bytes $(($1 * $3))"
    echo "inodes_available $4"
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
    read -r up _ < /proc/uptime
    ticks=$(getconf CLK_TCK 2> /dev/null) || ticks=100
    # Records first: what starts meanwhile may run without one that says so, and what ends has ended.
    { grep -s '=' /dev/null "$RECORDS"/* || :; tell_processes; } |
        awk -v containers="$CONTAINERS" -v records="$RECORDS/" -v up="$up" -v ticks="$ticks" '
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
        index($0, "/proc/" path[3] "/stat:") == 1 {
            sub(/.*\) /, "") # a name in brackets, of whatever its program likes; behind it are 50 words
            ct = of[path[3]]
            if (NF > 20 && (!(ct in began) || $20 + 0 < began[ct])) began[ct] = $20 + 0
            next
        }
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
                if (ct in began && began[ct] / ticks <= up) printf "up %s %d\n", ct, up - began[ct] / ticks
            }
            path = containers "/" ct "/descriptor.json"
            if ((getline line < path) > 0) print "descriptor", ct, substr(line, 1, 100000)
            close(path)
        }
        END { for (i = 1; i <= count; i++) { ct = order[i]; tell() } }'
    tell_keepers
}

# "process CT PID" for each, then what its memory is, when it began, then which cables are in a bridge. What may go while it is read, as a
# process does all the time, is read by grep, which passes over it: awk would end there.
tell_processes() {
    pids=$({ own_pids; deep_pids; } | sort -u)
    [ -z "$pids" ] || printf '%s\n' "$pids" | sed 's/^/process /'
    printf '%s\n' "$pids" | sed -n 's|.* \(.*\)|/proc/\1/status /proc/\1/smaps_rollup|p' |
        xargs grep -sE '^(RssAnon|Pss|Pss_Shmem):' /dev/null || :
    printf '%s\n' "$pids" | sed -n 's|.* \(.*\)|/proc/\1/stat|p' | xargs grep -s ') ' /dev/null || :
    grep -s . /dev/null /sys/class/net/*/brport/state || :
}

# "CT PID" for those whose processes are in their own group, and for those whose are in groups below it.
own_pids() {
    grep -s . /dev/null "$TREE"/ct/*/cgroup.procs | sed -n "s|^$TREE/ct/\(.*\)/cgroup.procs:|\1 |p"
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

# What each container's own files take, and how much of that the last pass of a move would have to look at: files that have
# changed lately, and those besides that are mapped shared and writable. One walk over all, in which no name is told.
LATELY_S=10
tell_files() {
    any_is_there "$CONTAINERS"/*/upper || return 0
    timeout 15 find "$CONTAINERS"/*/upper "$CONTAINERS"/*/disks/* -xdev -printf '%D:%i %n %y %b %s %C@ %H\n' 2> /dev/null |
        awk -v since="$(($(date +%s) - LATELY_S))" -v containers="$CONTAINERS/" '
            $2 > 1 && $3 != "d" && seen[$1]++ { next }
            {
                split(substr($7, length(containers) + 1), part, "/")
                files[part[1]] += $4
                if (part[2] == "disks") own[part[1] "/" part[3]] += $4
                if ($3 == "f" && $6 >= since) changing[part[1]] += $5
            }
            END {
                for (volume in own) printf "own-volume %s %.0f\n", volume, own[volume] * 512
                for (ct in files) printf "files %s %.0f\n", ct, files[ct] * 512
                for (ct in changing) printf "changing %s %.0f\n", ct, changing[ct]
            }'
    tell_mapped
}

tell_mapped() {
    mapping=" $(find "$TREE/ct" -name cgroup.procs -exec cat {} + 2> /dev/null | sed 's|.*|/proc/&/maps|' |
        xargs -r grep -lE '^[0-9a-f-]+ .w.s [0-9a-f]+ [0-9a-f:]+ [1-9][0-9]* +/.*[^)]$' 2> /dev/null | tr '\n' ' ')"
    [ "$mapping" != ' ' ] || return 0
    for group in "$TREE"/ct/*/cgroup.procs; do
        ct=${group%/cgroup.procs}
        ct=${ct##*/}
        [ -e "$RECORDS/$ct" ] || continue
        for pid in $(pids_of "$ct"); do
            case $mapping in
                *" /proc/$pid/maps "*)
                    echo "mapped $ct $(mapped_at_rest "$ct")"
                    break ;;
            esac
        done
    done
}

# The sizes of files that are mapped shared and writable, and have not changed lately.
mapped_at_rest() { # CT
    mapped_files "$1" | sort -zu | in_place "$1" |
        xargs -0r sh -c 'exec find "$@" -maxdepth 0 -type f -not -newerct "$0 seconds ago" -printf "%D:%i %s\n"' "$LATELY_S" \
            2> /dev/null | sort -u | awk '{ sum += $2 } END { printf "%.0f\n", sum }'
}

# What of a container's files lies in its memory (/tmp, /run, /dev/shm, and what it has mounted itself): CRIU packs all of that
# in the pause. Looked at from a process of it, each tmpfs once. Paths with a blank in them are left out. A file between, for a
# filesystem of its own (FUSE) may hold up who looks longer than anybody ends him; then nothing is told.
tell_tmpfs() {
    set --
    for group in "$TREE"/ct/*/cgroup.procs; do
        ct=${group%/cgroup.procs}
        ct=${ct##*/}
        [ -e "$RECORDS/$ct" ] || continue
        pid=
        if is_delegated "$ct"; then
            pid=$(init_pid "$ct") # others may have a /tmp of their own
        else
            { read -r pid || :; } 2> /dev/null < "$group" || :
        fi
        [ -z "$pid" ] || set -- "$@" "/proc/$pid/mountinfo $ct"
    done
    [ "$#" -gt 0 ] || return 0
    looked=$RUN/.tmpfs.$$
    printf 'of %s\n' "$@" > "$looked"
    printf '%s\n' "$@" | sed 's/ .*//' | xargs grep -s ' - tmpfs ' /dev/null |
        awk '{ sub(/:/, " ") } $5 == "/" && $6 !~ /\\/ && !seen[$1, $4]++ { sub(/mountinfo$/, "root", $1); print $1 $6 }' |
        timeout 5 xargs -rd '\n' stat -f -c '%n %T %S %b %f' >> "$looked" 2> /dev/null || :
    awk '
        $1 == "of" { split($2, part, "/"); of[part[3]] = $3; next }
        $2 == "tmpfs" { split($1, part, "/"); used[of[part[3]]] += ($4 - $5) * $3 }
        END { for (ct in used) printf "held %s %.0f\n", ct, used[ct] }' "$looked"
    rm -f "$looked"
}

# How fast a container writes its files, by two looks at those that have changed lately: by what they have grown, or, where
# one was written over, by what its processes have written in all. What goes through a mapping is not seen.
verb_writing() { # CT
    scratch=$RUN/.look.$$
    trap 'rm -f "$scratch"*' EXIT
    timeout 5 find "$CONTAINERS/$1/upper" "$CONTAINERS/$1/disks" -xdev -type f -newerct "$LATELY_S seconds ago" -print0 2> /dev/null |
        head -zn 10000 > "$scratch.names" || :
    if [ -s "$scratch.names" ]; then
        began_ms=$(now_ms)
        { sizes_of < "$scratch.names"; written_by "$1"; } > "$scratch.before"
        sleep 0.4
        { sizes_of < "$scratch.names"; written_by "$1"; } > "$scratch.after"
        awk '
            NR == FNR { was[$1] = $2; at[$1] = $3; next }
            /^by:/ { written += $2 - was[$1]; next }
            $1 in was && $3 != at[$1] {
                changed += $2
                if ($2 > was[$1]) grown += $2 - was[$1]; else over = 1
            }
            END {
                printf "grown_bytes %.0f\n", grown
                if (written > changed) written = changed
                if (over && written > grown) grown = written
                printf "written_bytes %.0f\n", grown
            }' "$scratch.before" "$scratch.after"
        echo "ms $(($(now_ms) - began_ms))"
    fi
    echo 'end writing'
}

sizes_of() { xargs -0r stat -c '%d:%i %s %z' 2> /dev/null | sed 's/ \([0-9:.]*\) [-+0-9]*$/T\1/'; }

# Bytes that each process has written by system calls, to files and to all else.
written_by() { # CT
    pids_of "$1" | sed 's|.*|/proc/&/io|' | xargs -r grep -H '^wchar:' 2> /dev/null | sed 's|^/proc/\([0-9]*\)/io:wchar:|by:\1|' || :
}

# Pages that the kernel may drop (MAP_DROPPABLE, since Linux 6.11), in which glibc 2.41 and later keep the state of their
# random numbers. CRIU maps them as they were, and a kernel before that refuses.
tell_needs() {
    kernel_is 6 11 || return 0
    for group in "$TREE"/ct/*/cgroup.procs; do
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
