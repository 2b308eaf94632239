# What this node is and has: one line a fact, nothing changed. Each volume that is named is looked for.
verb_probe() { # [NAME=PATH...]
    boot_id
    echo "boot_id $boot_id"
    echo "machine_id $(cat /etc/machine-id 2> /dev/null || echo -)"
    echo "hostname $(hostname)"
    echo "kernel $(uname -r)"
    echo "arch $(uname -m)"
    tell_room
    awk -F': ' '$1 ~ /^(flags|Features)/ { print "cpu_flags", $2; exit }' /proc/cpuinfo
    (tell_cgroup)
    for tool in criu runc rsync; do
        echo "$tool $(tool_version "$tool")"
    done
    features
    machine
    echo "stream_out $(streams_out)"
    echo "stream_in $(streams_in)"
    tell_places "$@"
    tell_containers
    tell_needs
    tell_files
    tell_tmpfs
    tell_pressure
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
    # crun begins nothing beside version 1's hierarchies where the tree has controllers as well.
    ! crun --version 2> /dev/null | grep -q '+CRIU' || { is_first_version && grep -qs . "$TREE/cgroup.controllers"; } || echo 'feature crun'
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
