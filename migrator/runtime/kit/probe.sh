# What this node is and has: one line a fact, nothing changed. Each volume that is named is looked for.
verb_probe() { # [NAME=PATH...]
    boot_id
    echo "boot_id $boot_id"
    echo "machine_id $(cat /etc/machine-id 2> /dev/null || echo -)"
    echo "hostname $(hostname)"
    echo "kernel $(uname -r)"
    echo "arch $(uname -m)"
    echo "cpus $(nproc)"
    awk '$1 == "MemTotal:" { printf "memory_bytes %.0f\n", $2 * 1024 }
        $1 == "MemAvailable:" { printf "memory_available_bytes %.0f\n", $2 * 1024 }' /proc/meminfo
    df -Pk "$DISK" | awk 'NR == 2 { printf "disk_bytes %.0f\ndisk_available_bytes %.0f\n", $2 * 1024, $4 * 1024 }'
    df -Pi "$DISK" | awk 'NR == 2 { print "inodes_available", $4 }'
    awk -F': ' '$1 ~ /^(flags|Features)/ { print "cpu_flags", $2; exit }' /proc/cpuinfo
    (tell_cgroup)
    for tool in criu runc rsync; do
        echo "$tool $(tool_version "$tool")"
    done
    features
    machine
    echo "stream_out $(streams_out)"
    echo "stream_in $(streams_in)"
    for bridge in /sys/class/net/*/bridge; do
        [ ! -d "$bridge" ] || { bridge=${bridge%/bridge}; echo "bridge ${bridge##*/}"; }
    done
    [ ! -e "$DISK/cordon" ] || echo "cordon $(head -n 1 "$DISK/cordon")"
    for template in "$DISK"/templates/*/digest; do
        [ ! -e "$template" ] || { name=${template%/digest}; echo "template ${name##*/} $(head -n 1 "$template")"; }
    done
    for volume in "$@"; do
        check_name "${volume%%=*}"
        { fault=$(volume_fault "${volume#*=}") && echo "volume ${volume%%=*} ${fault:-yes}"; } & # one may take its time
    done
    wait
    [ ! -c /dev/fuse ] || echo 'device fuse'
    [ ! -c /dev/net/tun ] || echo 'device tun'
    for record in "$RECORDS"/*; do
        [ ! -e "$record" ] || probe_container "${record##*/}"
    done
    echo "time_ms $(now_ms)"
    echo 'end probe'
}

# What this kernel and this CRIU can do together; asked once a boot, because each question costs a process.
features() {
    if [ ! -e "$RUN/features" ]; then
        for feature in mem_dirty_track pagemap_scan uffd-noncoop timens userns network_lock_nftables overlayfs_maps; do
            ! criu check --feature "$feature" > /dev/null 2>&1 || echo "feature $feature"
        done > "$RUN/features.$$"
        mv "$RUN/features.$$" "$RUN/features"
    fi
    cat "$RUN/features"
    # Not CRIU's to say, so not kept: an older kit may have made the file.
    ! crun --version 2> /dev/null | grep -q '+CRIU' || echo 'feature crun'
    ! kernel_is 6 11 || echo 'feature map_droppable'
    if python3 -ESsB "$KIT/conntrack.py" can > /dev/null 2>&1; then
        : > "$RUN/conntrack" # for a restore, which has no time to ask
        echo 'feature conntrack'
    else
        rm -f "$RUN/conntrack"
    fi
}

kernel_is() { # MAJOR MINOR   or newer
    release=$(uname -r)
    major=${release%%.*} minor=${release#*.}
    minor=${minor%%[!0-9]*}
    [ "$major" -gt "$1" ] || { [ "$major" -eq "$1" ] && [ "$minor" -ge "$2" ]; }
}

# Pages that the kernel may drop (MAP_DROPPABLE, since Linux 6.11), in which glibc 2.41 and later keep the state of their
# random numbers. CRIU maps them as they were, and a kernel before that refuses.
needs_droppable() { # CT
    kernel_is 6 11 || return 1
    for pid in $(pids_of "$1"); do
        ! grep -q '^VmFlags:.* dp' "/proc/$pid/smaps" 2> /dev/null || return 0
    done
    return 1
}

# Whether memory can be streamed from this node: CRIU keeps it in pipes of 8 MiB.
streams_out() {
    most=$(setting fs/pipe-max-size)
    if ! has_python; then
        echo 'Python 3.10 or newer is not there; install python3'
    elif [ "$most" -lt 8388608 ] && ! may_raise_limits; then
        echo 'pipes cannot be large enough; allow it with: sysctl -w fs.pipe-max-size=16777216'
    else
        echo yes
    fi
}

# Whether memory can be streamed to it: a container's own root asks for the userfaultfd by which pages come.
streams_in() {
    allowed=$(setting vm/unprivileged_userfaultfd)
    if ! has_python; then
        echo 'Python 3.10 or newer is not there; install python3'
    elif ! grep -q '^feature uffd-noncoop$' "$RUN/features" 2> /dev/null; then
        echo 'its kernel has no userfaultfd that CRIU can use'
    elif [ "$allowed" != 1 ]; then
        echo 'user namespaces may not use userfaultfd; allow it with: sysctl -w vm.unprivileged_userfaultfd=1'
    else
        echo yes
    fi
}

# Not by the shell's own read: it takes a byte at a time, and these files give only one.
setting() { cat "/proc/sys/$1" 2> /dev/null || echo 0; }

has_python() { python3 -ESsB -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2> /dev/null; }

may_raise_limits() { # CAP_SYS_RESOURCE is the 24th
    capabilities=$(sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status)
    [ "$((0x$capabilities >> 24 & 1))" = 1 ]
}

tool_version() {
    case $1 in
        criu) criu --version 2> /dev/null | sed -n 's/^Version: *//p' ;;
        runc) runc --version 2> /dev/null | sed -n '1s/^runc version //p' ;;
        rsync) rsync --version 2> /dev/null | sed -n '1s/^rsync *version \([^ ]*\).*/\1/p' ;;
    esac
}

probe_container() { # CT
    ct=$1
    read_record "$ct"
    has_processes "$ct" && alive=yes || alive=no
    echo "container $ct $r_state $r_token $r_generation $alive $r_run"
    keeper=$RUN/keepers/$ct
    if job_alive "$keeper" && [ -s "$keeper/said" ]; then
        echo "keeper $ct $(tr -cd '[:print:]' < "$keeper/said")"
    elif [ "$r_armed" = yes ]; then
        echo "keeper $ct 0 gone; make it anew: migrator ct start $ct"
    fi
    echo "holds $ct $r_memory_bytes $r_cpu_milli $r_disk_bytes"
    if [ "$alive" = yes ]; then
        if read_net "$ct" 2> /dev/null; then
            gate_is_open && echo "gate $ct open" || echo "gate $ct closed"
        fi
        ! needs_droppable "$ct" || echo "needs $ct map_droppable"
        # Used: pages that processes share count once (Pss). Dumped: CRIU writes private pages of every process, also
        # those that a fork still shares, and shared memory once.
        pids_of "$ct" | while read -r pid; do
            cat "/proc/$pid/status" "/proc/$pid/smaps_rollup" 2> /dev/null || :
        done | awk -v ct="$ct" '
            $1 == "Pss:" { used += $2 }
            $1 == "RssAnon:" || $1 == "Pss_Shmem:" { dumped += $2 }
            END { printf "memory %s %.0f %.0f\n", ct, used * 1024, dumped * 1024 }'
    fi
    used=$(timeout 5 du -sxk "$CONTAINERS/$ct/upper" 2> /dev/null | cut -f1) || used=
    [ -z "$used" ] || echo "files $ct $((used * 1024))"
    if [ -e "$CONTAINERS/$ct/descriptor.json" ]; then
        printf 'descriptor %s ' "$ct"
        head -c 100000 "$CONTAINERS/$ct/descriptor.json" | tr -d '\n'
        echo
    fi
}
