# What a container needs whose first process is an init that manages groups of its own (systemd), and how such a one is
# asked to end. Sourced by lib.sh.

# Whether its init has the inside of its group to itself, and groups of its own making in it (delegate.sh).
is_delegated() { [ -e "$CONTAINERS/$1/init" ]; } # CT

# Every process in the container's group and in those below it. By number: what a group is called is its maker's choice.
pids_of() { # CT
    if is_delegated "$1"; then
        find "$TREE/ct/$1" -name cgroup.procs -exec cat {} + 2> /dev/null || :
    else
        cat "$TREE/ct/$1/cgroup.procs" 2> /dev/null || :
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
    chmod 755 "$group" # its users look at it too
    groups_in "$1" "$group" "$base"
}

GROUPS_MAX=2000

# Which groups are below a frozen container's own, and whose: CRIU makes anew those that processes are in, and leaves what
# is above them, and what is in them, to the node's root. Told among its images.
groups_out() { # CT MOVE
    ! is_delegated "$1" || find "$TREE/ct/$1" -mindepth 1 -type d -printf '%U %G %P\n' > "$2/images/groups.img"
}

# On the target, before files in them are opened. All is the container's root's, but for groups that its init has given to
# users of its own, by the kernel's own list of what that is. Where its range is another here, ids are told in the source's.
groups_in() { # CT GROUP BASE
    for told in "$RUN/move/$1".[0-9]*/images/groups.img; do
        [ -f "$told" ] && [ ! -h "$told" ] || continue
        grep -E '^[0-9]+ [0-9]+ [^/]' "$told" | grep -vE '(^| |/)\.\.?(/|$)' | head -n "$GROUPS_MAX" > "$told.ours"
        (cd "$2" && umask 022 && cut -d ' ' -f 3- "$told.ours" | xargs -r -d '\n' mkdir -p --)
        find "$2" -mindepth 1 -type d -user 0 -exec chmod 755 {} +
        # Also those that CRIU has given to whom they were the source's, where the container has another range here. But
        # not what is in the group itself, its limits, freezer and kill, which are the node's.
        find "$2" -mindepth 1 \( -type d -o -path "$2/*/*" \) \( -uid "-$3" -o -uid "+$(($3 + 65535))" \) \
            -exec chown "$3:$3" {} +
        from=$3
        [ ! -e "${told%/images/groups.img}/shifted-from" ] || read -r from < "${told%/images/groups.img}/shifted-from"
        awk -v from="$from" -v base="$3" '$1 > from && $1 < from + 65536 && $2 >= from && $2 < from + 65536 {
            printf "%d %d %s\n", $1 - from + base, $2 - from + base, substr($0, length($1 $2) + 3)
        }' "$told.ours" |
            while read -r uid gid path; do
                (cd "$2/$path" && chown "$uid:$gid" . cgroup.procs cgroup.threads cgroup.subtree_control)
            done
        rm -f "$told.ours"
    done
}

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
