# A container's control groups: always one in the tree of the second version, in which it is frozen, killed and counted,
# and its limits where this node's controllers are. Sourced by lib.sh.
#
# The kernel has that tree whoever has the controllers, and its cgroup.freeze, cgroup.kill and cgroup.events are no
# controller's. On a node whose controllers are of version 1 it is mounted at /sys/fs/cgroup/unified, by its init system, or
# else by us at a place of our own: at that one it would tell tools of systemd that their groups are in it.

CGROUP=/sys/fs/cgroup
# Before a runtime's words, where it would find no tree: both join the one that is at /sys/fs/cgroup/unified.
BESIDE=
if [ -e "$CGROUP/cgroup.controllers" ]; then
    TREE=$CGROUP
elif [ -e "$CGROUP/unified/cgroup.controllers" ]; then
    TREE=$CGROUP/unified
else
    TREE=$RUN/tree BESIDE="unshare --mount --propagation slave sh $KIT/seen-at $RUN/tree $CGROUP/unified "
fi
RUNC="${BESIDE}runc --root $RUN/runc"

# Whether the controllers are of version 1, in hierarchies of their own.
is_first_version() { [ "$TREE" != "$CGROUP" ]; }

# Once a boot, by whoever is first. A kernel that cannot leaves nothing, which is told when a container is to be made. And
# which files for weights of disks there are is seen in no hierarchy's root.
find_tree() {
    [ ! -d "$CGROUP/blkio" ] || [ -d "$CGROUP/blkio/ct" ] || mkdir -m 755 "$CGROUP/blkio/ct" 2> /dev/null || :
    [ -e "$TREE/cgroup.procs" ] || (
        flock 9
        mkdir -p "$TREE"
        [ -e "$TREE/cgroup.procs" ] || mount -t cgroup2 cgroup2 "$TREE" 2> /dev/null || exit 0
        [ -d "$CGROUP/unified" ] || mkdir -m 755 "$CGROUP/unified" 2> /dev/null || {
            # systemd has left it read-only
            mount -o remount,rw "$CGROUP" && mkdir -m 755 "$CGROUP/unified" && mount -o remount,ro "$CGROUP"
        } || : # then a runtime says what it does not find
    ) 9> "$RUN/tree-lock"
}

# What freezing needs (Linux 5.2). On a node with version 2 its container would not start without.
check_freezer() {
    ! is_first_version || [ -e "$TREE/ct/cgroup.freeze" ] ||
        { mkdir "$TREE/ct" 2> /dev/null && [ -e "$TREE/ct/cgroup.freeze" ]; } ||
        fail 12 'the kernel of this node has no cgroup.freeze in cgroups of version 2, which containers are frozen by; it came with Linux 5.2'
}

# Puts a container's first process, before it has begun another, into its groups beside the first version's: crun has made
# them in a restore, and leaves it to CRIU to fill them, which is told of the tree alone (noted_groups.py).
join_groups() { # CT PID
    ! is_first_version || for group in "$CGROUP"/*/ct/"$1"; do
        echo "$2" > "$group/cgroup.procs"
    done
}

cgroup_of() { printf '%s\n' "$TREE/ct/$1"; }

set_frozen() { # CT 0|1   waits until the kernel says so
    group=$(cgroup_of "$1")
    if [ ! -e "$group/cgroup.freeze" ]; then
        [ "$2" = 1 ] && word=pause || word=resume
        $RUNC "$word" "$1"
        return
    fi
    echo "$2" > "$group/cgroup.freeze"
    tries=0
    until is_frozen "$group" "$2"; do
        tries=$((tries + 1))
        [ "$tries" -lt 20000 ] || fail 12 "container $1 does not freeze"
    done
}

is_frozen() { # GROUP 0|1
    while read -r key value; do
        [ "$key" != frozen ] || [ "$value" != "$2" ] || return 0
    done < "$1/cgroup.events"
    return 1
}

# In its group or in any below it.
has_processes() { # CT
    [ -e "$TREE/ct/$1/cgroup.events" ] || return 1
    while read -r key value; do
        [ "$key $value" != 'populated 1' ] || return 0
    done 2> /dev/null < "$TREE/ct/$1/cgroup.events"
    return 1
}

# Ends whatever runs in a container's group, frozen or not.
kill_processes() { # CT
    group=$(cgroup_of "$1")
    if [ -e "$group/cgroup.kill" ]; then
        echo 1 > "$group/cgroup.kill"
        tries=0
        while has_processes "$1" && [ "$tries" -lt 100000 ]; do
            tries=$((tries + 1))
        done
        return 0
    fi
    tries=0 # before Linux 5.14, one by one, until none begins another
    while has_processes "$1" && [ "$tries" -lt 500 ]; do
        # shellcheck disable=SC2046
        kill -9 $(pids_of "$1") 2> /dev/null || :
        tries=$((tries + 1))
        sleep 0.01
    done
}

# Its group in the tree, and those by which controllers of the first version hold it.
remove_groups() { # CT
    remove_group "$TREE/ct/$1" "$1"
    ! is_first_version || for group in "$CGROUP"/*/ct/"$1"; do
        remove_group "$group" "$1"
    done
}

remove_group() { # GROUP CT
    set -- "$1" "$2" 0
    while [ -d "$1" ] && ! find "$1" -depth -type d -exec rmdir {} + 2> /dev/null; do
        [ "$3" -lt 100 ] || fail 12 "processes of container $2 do not end"
        set -- "$1" "$2" $(($3 + 1))
        sleep 0.02
    done
}
