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

# Before its runtime begins: it mounts its own group as its root, and kernels up to 6.12 at least let nobody do so who may not
# pass through what is above. A runtime makes that one for the node's root alone, as our umask has it.
open_groups() { # CT
    is_delegated "$1" || return 0
    mkdir -p -m 711 "$TREE/ct"
    chmod 711 "$TREE/ct"
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
# is above them, and what is in them, to the node's root. And which controllers they have for those below them, and what
# its init lets them have, which CRIU forgets. Told among its images.
groups_out() { # CT MOVE
    is_delegated "$1" || return 0
    find "$TREE/ct/$1" -mindepth 1 -type d -printf '%U %G %P\n' > "$2/images/groups.img"
    # shellcheck disable=SC2046,SC2086
    (cd "$TREE/ct/$1" && grep -rs . $(printf -- '--include=%s ' cgroup.subtree_control $LIMITS_BELOW) .) \
        > "$2/images/group-files.img" || : # none
}

# Of devices nothing: they have other numbers elsewhere.
LIMITS_BELOW='pids.max memory.min memory.low memory.high memory.max memory.swap.high memory.swap.max memory.oom.group
cpu.max cpu.weight cpu.idle'

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

# A controller's files are there only in groups whose parent has it, and CRIU opens what the container has open, or watches:
# so before that, and after CRIU has put its first process into its place, by way of the container's own group. The kernel
# takes none for a group that somebody is in: who restores it is, and goes to that process. A controller that this node
# lacks is left out. What has come with them is the container root's, as what its init would have made.
controllers_in() { # FILE GROUP BASE
    [ -f "$1" ] && [ ! -h "$1" ] || return 0
    grep -E '^\./(.*/)?cgroup\.subtree_control:[a-z0-9_ ]+$' "$1" | grep -v '/\.\.\?/' | head -n "$GROUPS_MAX" |
        awk -F / '{ print NF, $0 }' | sort -n | cut -d ' ' -f 2- > "$1.ours" # those above first
    if [ -s "$1.ours" ] && [ -d "$2/init.scope" ]; then
        for pid in $(cat "$2/cgroup.procs"); do
            echo "$pid" > "$2/init.scope/cgroup.procs" || :
        done 2> /dev/null
    fi
    while read -r line; do
        for controller in ${line##*:}; do
            (cd "$2" && echo "+$controller" > "${line%:*}") || :
        done 2> /dev/null
    done < "$1.ours"
    rm -f "$1.ours"
    find "$2" -mindepth 2 -type f -user 0 -exec chown "$3:$3" {} +
}

# When all is restored, for its processes began elsewhere. Not of its first process's group, where CRIU and its hook are as well.
limits_below_in() { # FILE GROUP
    [ -f "$1" ] && [ ! -h "$1" ] || return 0
    # shellcheck disable=SC2086
    files=$(printf '%s|' $LIMITS_BELOW)
    grep -E "^\\.(/[^/]+)+/(${files%|}):[a-z0-9 ]+\$" "$1" | grep -v -e '/\.\.\?/' -e '^\./init\.scope/' -e ':max$' |
        head -n "$((GROUPS_MAX * 11))" | (
        cd "$2"
        while read -r line; do
            echo "${line##*:}" > "${line%:*}" || :
        done 2> /dev/null
    )
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
