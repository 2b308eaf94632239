# What a container needs whose first process is an init that manages groups of its own (systemd), and how such a one is
# asked to end. Sourced by lib.sh.

# Whether its init has the inside of its group to itself, and groups of its own making in it (delegate.sh).
is_delegated() { [ -e "$CONTAINERS/$1/init" ]; } # CT

# Every process in the container's group and in those below it. By number: what a group is called is its maker's choice.
pids_of() { # CT
    if is_delegated "$1"; then
        find "$CGROUP/ct/$1" -name cgroup.procs -exec cat {} + 2> /dev/null || :
    elif [ -e "$CGROUP/ct/$1/cgroup.procs" ]; then
        while read -r pid; do
            echo "$pid"
        done 2> /dev/null < "$CGROUP/ct/$1/cgroup.procs"
    fi
}

# Gives the container's root the inside of its group: to make groups in it, and to move its processes between them. The
# group's limits, its freezer and its kill stay the node's, as everything above it. By the list that the kernel's own
# documentation has for it, less what is not needed.
delegate() { # CT
    read -r base < "$CONTAINERS/$1/id_base"
    group=$(cgroup_of "$1")
    [ -e "$group/cgroup.subtree_control" ] || fail 12 "container $1 needs a group of cgroup v2, which this node does not have"
    for file in cgroup.procs cgroup.subtree_control cgroup.threads memory.oom.group; do
        [ ! -e "$group/$file" ] || chown "$base:$base" "$group/$file"
    done
    echo "$GROUPS_MAX" > "$group/cgroup.max.descendants" # they are the kernel's memory
    chown "$base:$base" "$group"
}

GROUPS_MAX=2000

stop_signal() { # CT   as a number, which every runtime knows
    signal=15
    [ ! -e "$CONTAINERS/$1/stop-signal" ] || read -r signal < "$CONTAINERS/$1/stop-signal"
    echo "$signal"
}

# Whether a signal would do anything: the first process of a namespace gets none that it neither catches nor blocks.
hears() { # PID SIGNAL
    while read -r key value; do
        case $key in
            SigBlk: | SigCgt:)
                [ "$2" -le 32 ] && half=${value#????????} bit=$(($2 - 1)) || half=${value%????????} bit=$(($2 - 33))
                [ "$((0x$half >> bit & 1))" = 0 ] || return 0 ;;
        esac
    done < "/proc/$1/status"
    return 1
}
