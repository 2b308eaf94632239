# Shared by every script of the kit. POSIX sh with flock; sourced, never run.
#
# On persistent disk:  /var/lib/migrator/{containers,records,templates,floor}
# Gone with the boot:  /run/migrator/{jobs,keepers,move,keys,links}
#
# A record is a file of key=value lines, replaced whole and synced. Only its verbs write it, under the node's one
# lock; whatever takes longer than a few tens of milliseconds runs outside the lock, as a job.
#
# Exit codes of verbs: 0 done, 10 refused (the caller may not), 11 not there, 12 impossible now, else a failure.

set -eu
umask 077
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

DISK=/var/lib/migrator
RUN=/run/migrator
CONTAINERS=$DISK/containers
RECORDS=$DISK/records
CGROUP=/sys/fs/cgroup
RUNC="runc --root $RUN/runc"
# One interface for all runtimes: runc's words. What another one needs for the same is in a program of the kit.
runtime_of() { [ ! -e "$CONTAINERS/$1/runtime" ] || RUNC="$KIT/crun"; } # CT

fail() { printf '%s\n' "$2" >&2; exit "$1"; }
refuse() { fail 10 "$1"; }

# Names come from outside; the orchestrator checks them too.
check_name() {
    case $1 in
        '' | -* | *[!a-z0-9_-]*) refuse "not a container's name: $1" ;;
    esac
    [ "${#1}" -le 63 ] || refuse "a container's name has at most 63 characters"
}

# The directory of a template: its name's, or that of one version of several.
check_place() { # NAME|NAME@VERSION
    check_name "${1%%@*}"
    case $1 in
        *@*[!a-z0-9]* | *@) refuse "not a template's place: $1" ;;
    esac
}

check_number() {
    case $1 in
        '' | *[!0-9]*) refuse "not a number: $1" ;;
    esac
    [ "${#1}" -le 16 ] || refuse "too large a number: $1"
    case $1 in
        0?*) refuse "not a number: $1" ;; # a shell would read it as octal
    esac
}

# A run's id, or who has cordoned: it becomes a line of a record.
check_word() {
    case $1 in
        '' | *[!A-Za-z0-9._-]*) refuse "not a run's id: $1" ;;
    esac
    [ "${#1}" -le 63 ] || refuse "too long a run's id"
}

check_interface() {
    case $1 in
        '' | -* | *[!A-Za-z0-9._@-]*) refuse "not a network interface: $1" ;;
    esac
}

make_dirs() {
    [ -d "$RUN/runc" ] && [ -d "$RECORDS" ] && return 0
    # Mapped roots must be able to pass through to their own container's directory, and to read nothing else.
    mkdir -p -m 711 "$DISK" "$CONTAINERS" "$RUN" "$RUN/move"
    mkdir -p "$RECORDS" "$RUN/jobs" "$RUN/keys" "$RUN/links" "$RUN/runc" "$DISK/templates"
    chmod 711 "$DISK" "$CONTAINERS" "$RUN" "$RUN/move" "$DISK/templates"
}

boot_id() { read -r boot_id < /proc/sys/kernel/random/boot_id; }

# Milliseconds since boot by the node's own clock, without a fork; centiseconds is what the kernel tells.
uptime_ms() {
    read -r up _ < /proc/uptime
    now_ms=$((${up%.*} * 1000 + 1${up#*.} * 10 - 1000))
}

now_ms() { date +%s%3N; }

# --- the lock ---------------------------------------------------------------------------------------------------

lock() {
    exec 9> "$DISK/lock"
    flock -w 20 9 || fail 12 'the node is busy: its lock was held for 20 s'
}

# For what must happen however long it takes: a watchdog that gives up would leave a container frozen for ever.
lock_at_last() {
    exec 9> "$DISK/lock"
    flock 9
}

unlock() { exec 9>&-; }

# --- records ----------------------------------------------------------------------------------------------------

# Fills r_* from the record; a container without one is "absent" with token 0.
read_record() {
    r_state=absent r_token=0 r_generation=0 r_boot=- r_run=- r_role=- r_deadline_s=0
    r_memory_bytes=0 r_cpu_milli=0 r_disk_bytes=0 r_armed=no r_creator=- r_void=0 r_holder=- r_cold=no
    [ -e "$RECORDS/$1" ] || return 0
    while IFS='=' read -r key value; do
        case $key in
            state | token | generation | boot | run | role | deadline_s | memory_bytes | cpu_milli | disk_bytes | \
                armed | creator | void | holder | cold)
                eval "r_$key=\$value" ;;
        esac
    done < "$RECORDS/$1"
}

write_record() { # CT
    write_record_new "$1" || fail 1 "the record of $1 cannot be written: the disk of this node is full, or broken"
}

write_record_new() { # CT   (each step is asked: where a caller looks at the outcome, the shell does not stop by itself)
    record_text 2> /dev/null > "$RECORDS/.$1.new" && sync "$RECORDS/.$1.new" &&
        mv "$RECORDS/.$1.new" "$RECORDS/$1" && sync "$RECORDS" && return 0
    rm -f "$RECORDS/.$1.new"
    return 1
}

record_text() {
    echo "state=$r_state"
    echo "token=$r_token"
    echo "generation=$r_generation"
    echo "boot=$r_boot"
    echo "run=$r_run"
    echo "role=$r_role"
    echo "deadline_s=$r_deadline_s"
    echo "memory_bytes=$r_memory_bytes"
    echo "cpu_milli=$r_cpu_milli"
    echo "disk_bytes=$r_disk_bytes"
    echo "armed=$r_armed"
    echo "creator=$r_creator"
    echo "void=$r_void"
    echo "holder=$r_holder"
    echo "cold=$r_cold"
}

# For what must be written down though the disk is full: the block that the record has is written again, padded with
# empty lines to its length. It is one sector; a power loss in it is the smaller evil.
write_record_in_place() { # CT
    size=$(stat -c %s "$RECORDS/$1")
    {
        record_text
        yes '' | head -n 200
    } | head -c "$((size > 480 ? size : 480))" | dd of="$RECORDS/$1" conv=notrunc,fsync 2> /dev/null
}

# The floor goes up first: a node never forgets which tokens it has seen, only which container they were for.
remove_record() { # CT TOKEN   (the record is read)
    top=$r_token
    [ "$2" -le "$top" ] || top=$2
    raise_floor "$1" "$top"
    rm -f "$RECORDS/$1"
    sync "$RECORDS"
}

# --- the floor: what is remembered of removed records --------------------------------------------------------------
#
# $DISK/floor has a line "CT TOKEN" for each of the last FLOOR_NAMES_MAX containers whose record was removed here, and
# one line "* TOKEN" for all before them. A lease that comes late, after its record was removed, is not above it.

FLOOR_NAMES_MAX=1000

# The highest token that was ever removed here of a container, or of those whose line was folded away.
floor_of() { # CT
    floor=0
    [ -e "$DISK/floor" ] || return 0
    floor=$(awk -v ct="$1" '($1 == ct || $1 == "*") && $2 > top { top = $2 } END { printf "%.0f", top }' "$DISK/floor")
}

raise_floor() { # CT TOKEN
    floor_of "$1"
    [ "$2" -gt "$floor" ] || return 0
    [ -e "$DISK/floor" ] || : > "$DISK/floor"
    awk -v ct="$1" -v token="$2" -v max="$FLOOR_NAMES_MAX" '
        $1 == "*" { rest = $2; next }
        $1 != ct { line[++lines] = $0; of[lines] = $2 }
        END {
            first = lines + 2 - max
            if (first < 1) first = 1
            for (i = 1; i < first; i++) if (of[i] > rest) rest = of[i]
            if (rest) print "*", rest
            for (i = first; i <= lines; i++) print line[i]
            print ct, token
        }' "$DISK/floor" > "$DISK/.floor.new"
    sync "$DISK/.floor.new"
    mv "$DISK/.floor.new" "$DISK/floor"
    sync "$DISK"
}

# The rule of every command that changes something: its token is the node's, no older and no newer. What takes a move
# back may be sent by one whose lease was refused, under the number that another has: it says who it is as well.
check_token() { # CT TOKEN [RUN[/HOLDER]]
    [ "$r_state" != absent ] || refuse "container $1 is not known here; token $2 holds nothing"
    [ "$r_token" = "$2" ] && is_claimed_by "${3:-$r_run}" && return 0
    [ "$r_run" != - ] || refuse "container $1 is held by no run (its token is $r_token); token $2 may change nothing"
    refuse "container $1 is held by run $r_run with token $r_token; token $2 may change nothing"
}

is_claimed_by() { # RUN[/HOLDER]
    case $1 in
        */*) [ "$r_run/$r_holder" = "$1" ] ;;
        *) [ "$r_run" = "$1" ] ;;
    esac
}

# For verbs that belong to a move: once it is settled not even its own token, in a command that was late, does anything.
check_run() { # CT TOKEN
    check_token "$1" "$2"
    [ "$r_run" != - ] || refuse "container $1 is held by no run any more; token $2 may change nothing"
}

# --- small parts ----------------------------------------------------------------------------------------------

cgroup_of() { printf '%s\n' "$CGROUP/ct/$1"; }

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
    [ -e "$CGROUP/ct/$1/cgroup.events" ] || return 1
    while read -r key value; do
        [ "$key $value" != 'populated 1' ] || return 0
    done 2> /dev/null < "$CGROUP/ct/$1/cgroup.events"
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
    fi
}

# Ends a container, running, frozen or half restored, and removes what the runtime and the kernel keep of it.
end_container() { # CT
    kill_processes "$1"
    forget_in_runtime "$1"
    [ ! -d "$RUN/runc/$1.rehearsal" ] || forget_in_runtime "$1.rehearsal"
    group=$(cgroup_of "$1")
    set -- "$1" 0
    while [ -d "$group" ] && ! find "$group" -depth -type d -exec rmdir {} + 2> /dev/null; do
        [ "$2" -lt 100 ] || fail 12 "processes of container $1 do not end"
        set -- "$1" $(($2 + 1))
        sleep 0.02
    done
}

forget_in_runtime() { # ID
    [ ! -d "$RUN/.note.$1" ] || rm -rf "$RUN/.note.$1" # of an adoption that was cut short
    [ -d "$RUN/runc/$1" ] || return 0 # all that a runtime knows of it would lie there
    # A runtime that was killed in a restore leaves this mount, and cannot remove its own note of the container then.
    [ ! -d "$RUN/runc/$1/criu-root" ] || umount -l "$RUN/runc/$1/criu-root" 2> /dev/null || :
    $RUNC delete -f "$1" > /dev/null 2>&1 || :
}

# Takes a container's tree away at once, under the lock, and deletes it after the lock is free: that may take long.
discard_tree() { # CT
    [ -e "$CONTAINERS/$1" ] || return 0
    unmount_below "$CONTAINERS/$1"
    mv "$CONTAINERS/$1" "$CONTAINERS/.gone.$$"
}

unlock_and_delete() {
    unlock
    rm -rf --one-file-system "$CONTAINERS"/.gone.*
}

# Removes a tree, after unmounting what is mounted in it: CRIU leaves live cgroup mounts under its work path.
remove_tree() {
    case $1 in
        "$CONTAINERS"/?* | "$RUN"/move/?*) ;;
        *) fail 1 "not a tree of ours: $1" ;;
    esac
    [ -e "$1" ] || return 0
    unmount_below "$1"
    rm -rf --one-file-system "$1"
}

unmount_below() { # DIRECTORY
    sed -n 's/^[^ ]* [^ ]* [^ ]* [^ ]* \([^ ]*\) .*/\1/p' /proc/self/mountinfo | sort -r | while read -r point; do
        case $point in
            "$1" | "$1"/*) umount "$point" || umount -l "$point" ;;
        esac
    done
}

# Lists "PID INNER" for each process of the container. CRIU and its hook stand in the same group while they restore;
# they are not in the container's pid namespace, so their NSpid line has one number and not two.
processes() { # CT
    nspid_of "$1" | sed -n 's|^/proc/\(.*\)/status:NSpid:\t[0-9]*\t\([0-9]*\).*|\1 \2|p'
}

# How many those are, by few programs: it is asked in the pause.
count_processes() { # CT
    # shellcheck disable=SC2046
    set -- $(grep -sl '^NSpid:[[:space:]][0-9]*[[:space:]][0-9]' /dev/null $(status_of_all "$1"))
    echo "$#"
}

# By grep, which passes over a process that has ended when it is read; awk and a shell's loop would end there too.
nspid_of() { # CT
    # shellcheck disable=SC2046
    grep -sH '^NSpid:' /dev/null $(status_of_all "$1") || :
}

status_of_all() { # CT
    if is_delegated "$1"; then
        pids_of "$1" | sed 's|.*|/proc/&/status|'
    else
        sed 's|.*|/proc/&/status|' "$CGROUP/ct/$1/cgroup.procs" 2> /dev/null || :
    fi
}

# What runs in a container, and its sockets: what a restored copy is told from the original by.
census() { # CT
    found=$(processes "$1") init=
    while read -r pid inner; do
        echo "process $inner"
        [ "$inner" != 1 ] || init=$pid
    done << END
$found
END
    sockets=$(in_network "$init" ss -Htanu state established state listening state unconnected) || return
    printf '%s' "${sockets:+$sockets
}" | awk '{ print "socket", $1, $2, $5, $6 }'
}

init_pid() { # CT
    processes "$1" | while read -r pid inner; do
        [ "$inner" != 1 ] || echo "$pid"
    done
}

# Whether pages of a container are still to come here, or to go from here, in post-copy: then the connection and who
# serves them outlive the lease that began it. On a source from the seal on, which only its own end or a thaw takes back.
memory_follows() { # CT   (read_record before)
    for move in "$RUN/move/$1".[0-9]*; do
        [ -e "$move/follows" ] && [ ! -e "$move/filled" ] && [ ! -e "$move/result" ] || continue
        case $r_state in
            sealed | held | released) return 0 ;;
        esac
    done
    return 1
}

# What is told of memory that has not all come, on a target: that it follows, or that it is lost, with the copy it was
# for. So it is with a copy that could not be let go.
memory_told() { # CT
    for move in "$RUN/move/$1".[0-9]*; do
        [ ! -e "$move/not-let-go" ] || echo 'memory lost'
        [ -e "$move/follows" ] && [ -e "$move/filling" ] && [ ! -e "$move/filled" ] || continue
        flock -n "$move/filling" true && echo 'memory lost' || echo 'memory follows'
    done
}

. "$KIT/ids.sh"
. "$KIT/ports.sh"
. "$KIT/gate.sh"
. "$KIT/delegate.sh"
. "$KIT/jobs.sh"
