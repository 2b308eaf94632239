# What else is compared of two nodes, and costs to be asked: tried once a boot, and told from a file from then on.
machine() {
    if [ ! -e "$RUN/machine" ]; then
        {
            echo "cpu_state $(cpu_state)"
            echo "filesystem $(filesystem | tr '\n' ' ')"
            echo "lsm $(lsm)"
        } > "$RUN/machine.$$" 2> /dev/null
        mv "$RUN/machine.$$" "$RUN/machine"
    fi
    cat "$RUN/machine"
}

# The security modules of the kernel, by the kernel: a node that has not mounted securityfs shows it for a moment.
lsm() {
    cat /sys/kernel/security/lsm 2> /dev/null && return
    unshare -m sh -c 'mount -t securityfs none /sys/kernel/security && cat /sys/kernel/security/lsm' 2> /dev/null || :
}

# The registers that a dump saves, as CRIU itself asks the CPU. Its image is read by Python; without one nothing is told.
cpu_state() {
    has_python || return 0
    dir=$RUN/cpuinfo.$$
    mkdir "$dir"
    ! criu cpuinfo dump -D "$dir" -o log > /dev/null 2>&1 || python3 -ESsB "$KIT/cpuinfo.py" "$dir/cpuinfo.img" || :
    rm -r "$dir"
}

# The type of the disk for containers, and what it can, each tried there: "overlay" or "no-overlay". Mounts are made in a
# namespace of their own, which takes them with it.
filesystem() {
    try=$DISK/.try.$$
    mkdir -p "$try/lower" "$try/upper" "$try/work" "$try/mnt"
    stat -f -c %T "$DISK"
    able overlay unshare -m mount -t overlay none -o "lowerdir=$try/lower,upperdir=$try/upper,workdir=$try/work" "$try/mnt"
    able idmap unshare -m mount --bind -o X-mount.idmap=0:100000:65536 "$try/lower" "$try/mnt"
    ! has_python || able xattr python3 -ESsB -c 'import os, sys; os.setxattr(sys.argv[1], "trusted.migrator", b"1")' "$try/upper"
    echo a > "$try/a"
    able reflink cp --reflink=always "$try/a" "$try/b"
    rm -rf "$try"
}

able() { # FEATURE ARGV...
    feature=$1
    shift
    "$@" > /dev/null 2>&1 && echo "$feature" || echo "no-$feature"
}
