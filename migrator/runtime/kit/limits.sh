# Verbs about a container's limits: told, and changed while it runs.
#
# Four things know a limit: the record (this node's ledger of what is promised), the kernel's own files, the descriptor,
# and the runtime's configuration. A change goes through them so that what is promised is never less than what is in
# force: first the record with the higher of old and new, then the kernel, the descriptor, the configuration, and last
# the record as it is to be. One that dies half-way is done again from the start by whoever asks a second time.
#
# Each change raises the token: whoever has looked before it, a migration above all, looks again.

# What a change is decided by, quickly: the record, the descriptor, and what this node has and has promised to others.
verb_ct_see() { # CT
    ct=$1
    read_record "$ct"
    echo "state $r_state"
    [ "$r_state" != absent ] || return 0
    for key in token run memory_bytes cpu_milli disk_bytes; do
        eval "echo \"$key \$r_$key\""
    done
    others_hold
    echo "others_memory_bytes $used_memory"
    echo "others_cpu_milli $used_cpu"
    echo "others_disk_bytes $used_disk"
    echo "cpus $(nproc)"
    awk '$1 == "MemTotal:" { printf "node_memory_bytes %.0f\n", $2 * 1024 }
        $1 == "MemAvailable:" { printf "memory_available_bytes %.0f\n", $2 * 1024 }' /proc/meminfo
    tell_cgroup
    tell_devices
    if [ -e "$CONTAINERS/$ct/descriptor.json" ]; then
        echo "kit $(sed -n 's|.*"\(/[^"]*\)/net-hook".*|\1|p' "$CONTAINERS/$ct/config.json" 2> /dev/null)"
        printf 'descriptor '
        head -n 1 "$CONTAINERS/$ct/descriptor.json"
        echo
    fi
}

# The version of cgroups here, the controllers, and as two more words the files that not every kernel has.
tell_cgroup() {
    if ! is_first_version; then
        read -r controllers < "$CGROUP/cgroup.controllers" || :
        set -- 2 $controllers
        ! any_is_there "$CGROUP"/*/memory.swap.max || set -- "$@" memory.swap
        ! any_is_there "$CGROUP"/*/io.weight "$CGROUP"/*/io.bfq.weight || set -- "$@" io.weight
    else
        set -- 1
        for controller in memory cpu pids; do
            [ ! -d "$CGROUP/$controller" ] || set -- "$@" "$controller"
        done
        ! any_is_there "$CGROUP/memory/memory.memsw.limit_in_bytes" || set -- "$@" memory.swap
        ! any_is_there "$CGROUP"/blkio/blkio.weight "$CGROUP"/blkio/*/blkio.weight "$CGROUP"/blkio/*/blkio.bfq.weight ||
            set -- "$@" io.weight
    fi
    ! can_limit_io || set -- "$@" io.max
    echo "cgroup $*"
}

tell_devices() {
    [ ! -c /dev/fuse ] || echo 'device fuse'
    [ ! -c /dev/net/tun ] || echo 'device tun'
}

any_is_there() { # FILE...
    for file in "$@"; do
        [ ! -e "$file" ] || return 0
    done
    return 1
}

# Changes a container's limits at once and for good. EXPECT is the token that the caller has seen: a change that somebody
# else made meanwhile is not undone by one that does not know of it. The descriptor and the configuration come on stdin.
verb_ct_set() { # CT EXPECT MEMORY_BYTES CPU_MILLI SWAP_BYTES|max PIDS|0 IO_WEIGHT|0 CAP_MEMORY CAP_CPU DESCRIPTOR_BYTES CONFIG_BYTES [WORDS of read_around]
    ct=$1 expect=$2 memory=$3 cpu=$4 swap=$5 pids=$6 weight=$7 cap_memory=$8 cap_cpu=$9
    shift 9
    for number in "$expect" "$memory" "$cpu" "$pids" "$weight" "$cap_memory" "$cap_cpu" "$1" "$2"; do
        check_number "$number"
    done
    [ "$swap" = max ] || check_number "$swap"
    [ -d "$CONTAINERS/$ct" ] || fail 11 "container $ct is not on this node"
    sizes_set=$1,$2
    shift 2
    read_around "$@"
    receive_set "${sizes_set%,*}" "${sizes_set#*,}" "$@" # before the lock: a slow sender must hold up nobody
    lock
    code=0
    (may_be_set) || code=$?
    [ "$code" != 0 ] || set_limits || code=$?
    [ ! -e "$part" ] || rm -f "$part" "$part".*
    [ "$code" = 0 ] || exit "$code"
    echo "token $r_token"
    runs_here && echo "in_force now" || echo "in_force started"
}

runs_here() { has_processes "$ct"; }

receive_set() { # DESCRIPTOR_BYTES CONFIG_BYTES [WORDS of read_around]
    for part in "$CONTAINERS/$ct"/.set.*; do # of one that was killed
        whose=${part##*/.set.}
        [ ! -e "$part" ] || [ -e "/proc/${whose%%.*}" ] || rm -f "$part"
    done
    part=$CONTAINERS/$ct/.set.$$
    head -c "$1" > "$part"
    head -c "$2" > "$part.config"
    sizes=$(stat -c %s "$part" "$part.config")
    sizes="${sizes%%[!0-9]*} ${sizes##*[!0-9]}" wanted="$1 $2"
    shift 2
    [ "$sizes" = "$wanted" ] && receive_around "$@" || {
        rm -f "$part" "$part".*
        fail 1 "the limits of $ct came cut short"
    }
}

# Why not; in a shell of its own, so that whoever refuses leaves nothing.
may_be_set() {
    read_record "$ct"
    check_at_rest "$ct"
    check_not_leased "$ct"
    [ -e "$CONTAINERS/$ct/descriptor.json" ] || refuse "container $ct is still being made; try again"
    [ "$r_token" = "$expect" ] || cmp -s "$part" "$CONTAINERS/$ct/descriptor.json" ||
        refuse "container $ct was changed meanwhile (its token is $r_token, not $expect); look again"
    ! runs_here || check_in_use
    check_around
    # What is not raised is not asked for room: a node that is promised over what it has may be relieved.
    [ "$memory" -gt "$r_memory_bytes" ] && more_memory=$memory || more_memory=0
    [ "$cpu" -gt "$r_cpu_milli" ] && more_cpu=$cpu || more_cpu=0
    check_room "$more_memory" "$more_cpu" 0 "$cap_memory" "$cap_cpu" 0
}

# Each only where it is needed: to count what is used takes longer than all the rest.
check_in_use() {
    group=$TREE/ct/$ct
    if [ "$memory" -lt "$r_memory_bytes" ]; then
        used=$(memory_in_use)
        [ "$used" -le "$memory" ] ||
            refuse "container $ct uses $(mib_up "$used") MiB of memory now, and was to have $((memory >> 20)) MiB; free some inside, or give it more"
    fi
    if [ "$swap" != max ]; then
        used=$(swap_in_use)
        [ "$used" -le "$swap" ] ||
            refuse "container $ct has $(mib_up "$used") MiB in swap now, and was to have $((swap >> 20)) MiB; give it more"
    fi
    if [ "$pids" != 0 ]; then
        used=$(pids_in_use)
        [ "$used" -le "$pids" ] ||
            refuse "container $ct has $used processes and threads now, and was to have $pids; give it more"
    fi
}

mib_up() { echo $((($1 + 1048575) >> 20)); } # BYTES

# What it cannot do without: pages of files that the kernel would drop are not counted. Where its group does not count
# memory, what its processes hold.
memory_in_use() {
    if [ -e "$group/memory.stat" ] && [ -e "$group/memory.max" ]; then
        awk '$1 ~ /^(anon|shmem|kernel_stack|pagetables|percpu|sock|slab_unreclaimable)$/ { sum += $2 }
            END { printf "%.0f", sum }' "$group/memory.stat"
    elif [ -e "$CGROUP/memory/ct/$ct/memory.stat" ]; then
        awk '$1 == "total_rss" || $1 == "total_shmem" { sum += $2 } END { printf "%.0f", sum }' \
            "$CGROUP/memory/ct/$ct/memory.stat"
    else
        pids_of "$ct" | while read -r pid; do
            cat "/proc/$pid/smaps_rollup" 2> /dev/null || :
        done | awk '$1 == "Pss:" { sum += $2 } END { printf "%.0f", sum * 1024 }'
    fi
}

swap_in_use() {
    if [ -e "$group/memory.swap.current" ]; then
        cat "$group/memory.swap.current"
    elif [ -e "$CGROUP/memory/ct/$ct/memory.stat" ]; then
        awk '$1 == "total_swap" { sum = $2 } END { printf "%.0f", sum }' "$CGROUP/memory/ct/$ct/memory.stat"
    else
        echo 0
    fi
}

pids_in_use() {
    cat "$group/pids.current" 2> /dev/null || cat "$CGROUP/pids/ct/$ct/pids.current" 2> /dev/null ||
        find "$group" -name cgroup.threads -exec cat {} + | wc -l
}

# Under the lock, allowed. A second call finds the same descriptor, and makes what is left to make.
set_limits() {
    read_record "$ct"
    was_token=$r_token was_memory=$r_memory_bytes was_cpu=$r_cpu_milli
    same=yes
    cmp -s "$part" "$CONTAINERS/$ct/descriptor.json" || same=no r_token=$((r_token + 1))
    r_memory_bytes=$((memory > was_memory ? memory : was_memory)) r_cpu_milli=$((cpu > was_cpu ? cpu : was_cpu))
    promised="$r_token $r_memory_bytes $r_cpu_milli"
    [ "$promised" = "$was_token $was_memory $was_cpu" ] || write_record_new "$ct" || {
        echo "the record of $ct cannot be written: the disk of this node is full, or broken" >&2
        return 1
    }
    if ! why=$(enforce 2>&1); then
        r_memory_bytes=$was_memory r_cpu_milli=$was_cpu
        write_record_new "$ct" || :
        echo "container $ct is as before: ${why:-the kernel refuses its limits}" >&2
        return 10 # what the kernel of its node does not take is refused, as what the node has no room for
    fi
    [ "$a_hostname" = - ] || note_name "$ct" "$a_hostname" || :
    keep_described || {
        echo "the limits of $ct are in force, and not all are written down: the disk of this node is full, or broken" >&2
        return 1
    }
    [ "$a_hostname" = - ] || ! runs_here || follow_hosts "$a_hostname"
    r_memory_bytes=$memory r_cpu_milli=$cpu
    [ "$promised" = "$r_token $memory $cpu" ] || write_record_new "$ct" || return 1
    follow_policy
}

# The descriptor goes first: one that is new beside an older configuration is found so by the second call.
keep_described() {
    [ "$same" = no ] || ! cmp -s "$part.config" "$CONTAINERS/$ct/config.json" || ! around_is_kept || return 0
    sync "$part" "$part.config" && mv "$part" "$CONTAINERS/$ct/descriptor.json" &&
        mv "$part.config" "$CONTAINERS/$ct/config.json" && keep_around && sync "$CONTAINERS/$ct"
}

# Writes the kernel's files, of the group that the container has if it runs; what the kernel refuses is put back.
enforce() {
    runs_here || return 0
    group=$TREE/ct/$ct written=
    quota=$((cpu * 100)) # of a period of 100 ms
    if ! is_first_version; then
        put_limit "$group/memory.max" "$memory" &&
            put_limit "$group/memory.swap.max" "$swap" &&
            put_limit "$group/cpu.max" "$quota 100000" &&
            put_limit "$group/pids.max" "$(or_max "$pids")" &&
            put_weight "$group/io.weight" "$group/io.bfq.weight" && hold_back_no_more_than && enforce_around && return 0
    else
        [ "$swap" = max ] && both=-1 || both=$((memory + swap))
        # Memory may not be above both together at any moment, so those are let go first.
        put_limit "$CGROUP/memory/ct/$ct/memory.memsw.limit_in_bytes" -1 &&
            put_limit "$CGROUP/memory/ct/$ct/memory.limit_in_bytes" "$memory" &&
            put_limit "$CGROUP/memory/ct/$ct/memory.memsw.limit_in_bytes" "$both" &&
            put_limit "$CGROUP/cpu/ct/$ct/cpu.cfs_period_us" 100000 &&
            put_limit "$CGROUP/cpu/ct/$ct/cpu.cfs_quota_us" "$quota" &&
            put_limit "$CGROUP/pids/ct/$ct/pids.max" "$(or_max "$pids")" &&
            put_weight "$CGROUP/blkio/ct/$ct/blkio.weight" "$CGROUP/blkio/ct/$ct/blkio.bfq.weight" &&
            hold_back_no_more_than && enforce_around && return 0
    fi
    put_limits_back
    return 1
}

or_max() { [ "$1" = 0 ] && echo max || echo "$1"; } # NUMBER

# A limit whose controller the node lacks has no file: it is kept all the same, and told as not enforced.
put_limit() { # FILE VALUE
    [ -e "$1" ] || return 0
    read -r before < "$1" || :
    written="$1 $before
$written"
    printf '%s' "$2" 2> /dev/null > "$1" || {
        echo "the kernel does not take $2 for ${1##*/} (it is $before)"
        return 1
    }
}

# On a scale of 10 to 1000; the second version's own file has 1 to 10000, as the runtime counts it too.
put_weight() { # FILE BFQ_FILE
    [ "$weight" != 0 ] && share=$weight || share=100
    if [ -e "$2" ]; then
        put_limit "$2" "$share"
    elif [ "${1##*/}" = io.weight ] && [ "$weight" != 0 ]; then
        put_limit "$1" "default $((1 + (share - 10) * 9999 / 990))"
    elif [ "${1##*/}" = io.weight ]; then
        put_limit "$1" 'default 100'
    else
        put_limit "$1" "$share"
    fi
}

# What a round of pre-copy has put aside, for a pause that never came to put it back.
hold_back_no_more_than() {
    [ ! -e "$RUN/throttled/$ct" ] || echo "$quota 100000" > "$RUN/throttled/$ct"
}

put_limits_back() {
    printf '%s' "$written" | while read -r file value; do
        printf '%s' "$value" 2> /dev/null > "$file" || :
    done
}
