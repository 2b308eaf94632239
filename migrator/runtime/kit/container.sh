# Verbs about a container's life on this node: create, start, stop, remove, logs.

# Makes a container's directory and its record, stopped; the files follow by ct-put. CREATOR is a word that nobody else
# has: by it a second try knows its own container from another of the same name.
verb_ct_create() { # CT TEMPLATE DIGEST ID_BASE MEMORY_BYTES CPU_MILLI DISK_BYTES CAP_MEMORY CAP_CPU CAP_DISK CREATOR [VOLUMES_INSIDE...]
    ct=$1 creator=${11:--}
    check_name "$ct"
    check_template "$2" "$3"
    for number in "$5" "$6" "$7" "$8" "$9" "${10}"; do
        check_number "$number"
    done
    check_creator "$creator"
    [ "$#" -le 11 ] || (shift 11 && check_inside "$place" "$@") || exit
    lock
    read_record "$ct"
    if [ "$r_state" != absent ]; then
        is_creator "$creator" || refuse "container $ct exists here ($r_state)"
        echo "token $r_token"
        return 0
    fi
    check_template "$2" "$3" # it may have gone before the lock was this one's
    check_room "$5" "$6" "$7" "$8" "$9" "${10}"
    make_container_dir "$ct" "$place" "$4"
    : > "$CONTAINERS/$ct/fresh"
    boot_id
    floor_of "$ct" # what was said to an earlier container of this name is not said to this one
    r_state=stopped r_token=$((floor + 1)) r_generation=1 r_boot=$boot_id r_role=owner r_creator=$creator
    r_memory_bytes=$5 r_cpu_milli=$6 r_disk_bytes=$7
    write_record "$ct"
    echo "token $r_token"
}

check_creator() {
    case $1 in
        *[!a-z0-9-]*) refuse "not a creator's word: $1" ;;
    esac
}

is_creator() { [ "$1" != - ] && [ "$r_creator" = "$1" ]; }

# Sets `place` to where it is.
check_template() { # TEMPLATE DIGEST|-
    check_name "$1"
    if [ "$2" = - ]; then
        current_of "$1"
        [ -d "$TEMPLATES/$place/rootfs" ] || fail 11 "template $1 is not on this node"
    elif ! find_template "$1" "$2"; then
        any_is_there "$TEMPLATES/$1" "$TEMPLATES/$1"@* || fail 11 "template $1 is not on this node"
        refuse "template $1 on this node is another one than that with digest $2"
    fi
}

make_container_dir() { # CT PLACE_OF_TEMPLATE ID_BASE
    check_number "$3"
    [ "$3" -ge 1048576 ] || refuse "ids from $3 on belong to the node itself"
    check_range "$1" "$3"
    check_freezer
    mkdir -p -m 711 "$CONTAINERS/$1" "$CONTAINERS/$1/lower" "$CONTAINERS/$1/rootfs"
    mkdir -p -m 755 "$CONTAINERS/$1/upper"
    mkdir -p "$CONTAINERS/$1/work"
    chmod 755 "$CONTAINERS/$1/upper"
    chown "$3:$3" "$CONTAINERS/$1/upper"
    echo "$2" > "$CONTAINERS/$1/template"
    echo "$3" > "$CONTAINERS/$1/id_base"
}

# Writes files that describe a container; their contents come on stdin, one behind the other. The sizes are told beforehand:
# a connection that dies half-way looks like the end of the content, and that may be long after a second try came whole.
verb_ct_put() { # CT TOKEN FILE BYTES [FILE BYTES]...
    ct=$1 token=$2
    check_name "$ct"
    shift 2
    check_put "$@"
    receive_put "$@" # before the lock: a slow sender must hold up nobody
    lock
    read_record "$ct"
    if [ "$r_token" != "$token" ]; then
        rm -f $parts
        check_token "$ct" "$token"
    fi
    while [ "$#" -gt 0 ]; do
        put_file "$CONTAINERS/$ct/.$1.$$" "$ct" "$1"
        shift 2
    done
}

check_put() { # FILE BYTES [FILE BYTES]...
    while :; do
        case ${1:-} in
            descriptor.json | config.json | net | criu.conf | restart | runtime | volumes | disk-list | firewall | resolv.conf | io | cloning | init | stop-signal) ;;
            *) refuse "not a file of a container: ${1:-}" ;;
        esac
        check_number "${2:-}"
        [ "$#" -gt 2 ] || return 0
        shift 2
    done
}

# Of the last one too much is as bad as too little; the others end where they are told to.
receive_put() { # FILE BYTES [FILE BYTES]...   (sets parts)
    parts= all=$* sizes=
    while [ "$#" -gt 0 ]; do
        parts="$parts $CONTAINERS/$ct/.$1.$$" sizes="$sizes $2"
        [ "$#" -gt 2 ] && most=$2 || most=1000000
        head -c "$most" > "$CONTAINERS/$ct/.$1.$$"
        shift 2
    done
    # shellcheck disable=SC2046
    set -- $(stat -c %s $parts)
    [ " $*" = "$sizes" ] && return 0
    rm -f $parts
    all=${all% *}
    fail 1 "${all##* } of $ct came cut short"
}

# A file that is bound into containers is written where it is: another in its place would not be seen inside.
put_file() { # PART CT FILE
    if [ "$3" = resolv.conf ]; then
        touch "$CONTAINERS/$2/$3"
        chmod 644 "$CONTAINERS/$2/$3" # for the container's root, who is nobody here
        cat "$1" > "$CONTAINERS/$2/$3"
        rm -f "$1"
    else
        mv "$1" "$CONTAINERS/$2/$3"
        [ "$3" != disk-list ] || make_disks "$2"
    fi
}

# Mounts the container's root: the shared template, its ids shifted to the container's, under the container's own.
mount_root() { # CT
    dir=$CONTAINERS/$1
    read -r template < "$dir/template"
    read -r base < "$dir/id_base"
    mountpoint -q "$dir/lower" ||
        mount --bind -o "ro,X-mount.idmap=b:0:$base:65536" "$DISK/templates/$template/rootfs" "$dir/lower" ||
        return 1 # a root without its template must not come up, in no caller
    mountpoint -q "$dir/rootfs" ||
        mount -t overlay overlay -o "lowerdir=$dir/lower,upperdir=$dir/upper,workdir=$dir/work" "$dir/rootfs"
}

unmount_root() { # CT
    rm -f "$RUN/ready.$1"
    for point in rootfs lower; do
        ! mountpoint -q "$CONTAINERS/$1/$point" || umount "$CONTAINERS/$1/$point"
    done
}

# Whether a container is here and not on the move; what it is told otherwise is the same for every caller.
check_at_rest() { # CT
    case $r_state in
        absent) fail 11 "container $1 is not on this node" ;;
        serving | stopped) ;;
        *) refuse "container $1 is $r_state: it was on the move when this node last knew; finish run $r_run first" ;;
    esac
}

check_not_leased() { # CT
    [ "$r_run" = - ] || refuse "container $1 is held by run $r_run; wait for its end, or: migrator resume $r_run"
}

# Starts a container cold. The record decides: only its owner may, and never one that is on the move. With `ask` it is not
# started while somebody answers for its address: its twin was made, or kept, while this node was not to be asked.
verb_ct_start() { # CT [ask]
    ct=$1
    check_name "$ct"
    if [ "${2:-}" = ask ] && [ -e "$CONTAINERS/$ct/net" ] && ! has_processes "$ct"; then
        read_record "$ct"
        check_at_rest "$ct" # which is asked again under the lock
        taken=$(address_taken "$ct")
        [ -z "$taken" ] || has_processes "$ct" || fail 12 "container $ct is not started: $taken"
    fi
    ! is_fresh "$ct" || make_first_keys
    lock
    read_record "$ct"
    check_at_rest "$ct"
    check_whole "$ct"
    if has_processes "$ct"; then
        started_already
        return 0
    fi
    check_not_cloned "$ct"
    end_container "$ct"
    stand_ready
    rm -f "$RUN/ready.$ct" # what is done now it may undo
    boot_id
    r_state=serving r_boot=$boot_id ended=no
    arm "$ct"
    write_record "$ct"
    begin_container "$ct" || undo_start "$(start_error "$ct" said)"
    rm -f "$RUN/start.$ct"
    unlock # a moment, in which others need not wait
    outlives_its_start "$ct" || ended=yes
    lock_at_last # it runs, and nobody would know
    read_record "$ct"
    [ "$r_state $r_run" = 'serving -' ] || { # somebody has stopped it meanwhile, or moves it
        echo 'started now'
        return 0
    }
    [ "$ended" = no ] || has_processes "$ct" || undo_start "$(ended_at_once "$ct")"
    [ ! -e "$RUN/move/$ct.$r_token/twin" ] || clean_move "$ct" "$r_token"
    keeper_start "$ct"
    echo 'started now'
}

# What an earlier try that was killed may not have come to: the open gate, and the keeper.
started_already() {
    if [ "$r_state" = serving ] && [ "$r_run" = - ]; then
        read_net "$ct"
        gate_is_open || reopen_gate
        publish "$ct" || fail 12 "the ports of container $ct cannot be published; see nft on its node"
        was=$r_armed
        arm "$ct"
        [ "$r_armed" = "$was" ] || write_record "$ct"
        keeper_start "$ct"
    fi
    echo 'started already'
}

reopen_gate() {
    gate_open 2> /dev/null ||
        fail 12 "container $ct runs, but its gate does not open: $(gate_error); make it, then: migrator ct start $ct"
    announce "$ct"
}

# Who answers for an address of a container that does not run here, if anybody does.
address_taken() { # CT
    read_net "$1"
    for at in $n_addresses $n_at; do
        card=eth0 address=${at#*,}
        [ "$address" = "$at" ] || card=${at%%,*}
        for nic in $n_nics; do
            on=${nic#*,*,} on=${on%%,*} address=${address%%/*}
            [ "${nic%%,*}" = "$card" ] && [ -d "/sys/class/net/$on" ] || continue
            verb_arp_owner "$on" "$address" soon |
                sed -n "s/^owner \(.*\)/its address $address is answered for by \\1; see where it runs: migrator ct list/p" &
        done
    done | sed -n 1p
}

start_error() { # CT [said]   for the runtime's own words "did not start: " stands before them where `said` is given
    said=$(sed -n 's/.*level=error msg="\(.*\)"$/\1/p' "$RUN/start.$1" | tail -n 1 | sed 's/\\"/"/g')
    [ -n "$said" ] || said=$(tail -n 1 "$RUN/start.$1") # crun says it in plain words
    [ -n "$said" ] || ended_at_once "$1"
    case $said in # the first that every container of ours runs, to open its log
        *'error running hook'*'stderr: '?*) # ours, which makes its network: what it said last
            said=$(printf '%s\n' "${said##*stderr: }" | sed -E 's/\\+n/\n/g' | sed -n '/./h; ${ x; p; }') ;;
        *exec*/bin/sh*'o such file'* | *exec*/bin/sh*'not found'*) said='its template has no /bin/sh, which it is started by' ;;
    esac
    [ -z "$said" ] || printf '%s\n' "${2:+did not start: }$said"
}

undo_start() { # WHY   (the lock is held and the record read)
    end_container "$ct"
    take_cable "$ct" || :
    stopped_record
    rm -f "$RUN/start.$ct"
    fail 1 "container $ct $1"
}

# Whether it is there a moment after its own program has taken the place of the shell that opens its log.
outlives_its_start() { # CT
    init=$(init_pid "$1") tries=0
    while [ -n "$init" ] && [ "$tries" -lt 100 ] &&
        grep -qsF -e 'mkdir -p /var/log && exec </dev/null' -e 'IFS=: read -r name _ uid' "/proc/$init/cmdline"; do
        tries=$((tries + 1))
        sleep 0.02
    done
    [ -z "$init" ] || timeout 0.05 tail -f /dev/null --pid="$init" -s 0.01 || :
    has_processes "$1"
}

ended_at_once() { # CT   with the last line that it has written
    words=$( (go_to_log "$1" && own_log 4096) 2> /dev/null | tr -cd '[:print:]\n' |
        sed -n '/./h; ${x;p}' | cut -c 1-200) || :
    printf '%s\n' "ended at once: ${words:-it has written no word}"
}

start_container() { # CT
    open_groups "$1" || return 1
    $RUNC run --detach --bundle "$CONTAINERS/$1" "$1" < /dev/null > /dev/null 2> "$RUN/start.$1" 3>&- 4>&- 9>&- || return 1
    read_net "$1" && gate_open || return 1
    announce "$1"
}

# Tells the network where the container's addresses are: switches may have them at a node that spoke for them last. One
# packet may be lost, so it is said for two seconds, ever more seldom. A program of its own: seen from outside it is not the
# verb that began it, and it keeps nothing of that open, the node's lock among it.
announce() { # CT   (its network is in n_*)
    sh "$KIT/speak-on" "$(init_pid "$1")" "$n_links" < /dev/null > /dev/null 2>&1 3>&- 4>&- 7>&- 8>&- 9>&- &
}

# The cable goes with the container's network, but only when the kernel comes to it, or somebody in it has ended.
take_cable() { # CT
    [ -e "$CONTAINERS/$1/net" ] || return 0
    read_net "$1"
    cut_cable
}

stopped_record() {
    r_state=stopped r_armed=no
    write_record "$ct"
}

verb_ct_stop() { # CT GRACE_S
    ct=$1
    check_number "$2"
    lock
    read_record "$ct"
    check_at_rest "$ct"
    check_not_leased "$ct"
    disarm "$ct"
    unlock
    if has_processes "$ct"; then
        if [ "$2" -gt 0 ]; then
            $RUNC kill "$ct" "$(stop_signal "$ct")" 2> /dev/null || :
            timeout "$2" tail -f /dev/null --pid="$(init_pid "$ct")" -s 0.05 || :
        fi
    fi
    lock
    read_record "$ct"
    check_at_rest "$ct"
    check_not_leased "$ct"
    disarm "$ct" # somebody may have started it meanwhile
    end_container "$ct"
    take_cable "$ct"
    unmount_root "$ct"
    stopped_record
}

# With CREATOR only what that one has made: a clean-up must not remove another's container of the same name.
verb_ct_remove() { # CT [CREATOR]
    ct=$1
    check_name "$ct"
    lock
    read_record "$ct"
    [ "$r_state" != absent ] || return 0
    [ $# = 1 ] || is_creator "$2" || refuse "container $ct here was made by somebody else"
    check_at_rest "$ct"
    check_not_leased "$ct"
    ! has_processes "$ct" || refuse "container $ct is running"
    check_not_cloned "$ct"
    [ $# = 1 ] || give_files_back "$ct"
    keeper_end "$ct"
    end_container "$ct"
    take_cable "$ct"
    clean_move "$ct" "$r_token"
    discard_tree "$ct"
    rm -f "$RUN/ready.$ct"
    remove_record "$ct" "$r_token"
    unlock_and_delete
}

# The container owns its log, and could make it a link to anything: a running one reads it itself, and of a stopped one
# no link is followed, the last one by the kernel's own word. Of one endless line only the end is kept.
LOG_BYTES_MAX=3900000

# Run inside, where a shell may be all there is.
TELL_LOG='log=/var/log/console.log
    if command -v tail > /dev/null; then exec tail -n "$1" "$log"; fi
    while IFS= read -r line || [ -n "$line" ]; do printf "%s\n" "$line"; done < "$log"'

verb_ct_log() { # CT LINES
    check_number "$2"
    if has_processes "$1"; then
        exec 5>&1
        code=$({ { timeout 20 $RUNC exec "$1" /bin/sh -c "$TELL_LOG" sh "$2" || echo "$?" >&6; } |
            tail -c "$LOG_BYTES_MAX" | tail -n "$2" >&5; } 6>&1)
        [ -z "$code" ] || exit "$code"
        return 0
    fi
    go_to_log "$1"
    own_log "$LOG_BYTES_MAX" | tail -n "$2"
}

# Makes the directory of a log this program's own, of a container that is not running.
go_to_log() { # CT
    logs=$(realpath "$CONTAINERS/$1")/upper/var/log
    cd -P "$logs" 2> /dev/null || fail 11 "container $1 has written no log here"
    [ "$(pwd -P)" = "$logs" ] && [ ! -h console.log ] || refuse "the log of $1 is a link; not followed"
    [ -f console.log ] || fail 11 "container $1 has written no log here"
}

# Its end. A log may be as large as its container likes, and is mostly holes then: what is before is not read.
own_log() { # BYTES
    size=$(stat -c %s console.log)
    dd if=console.log iflag=nofollow,nonblock,skip_bytes,count_bytes skip="$((size > $1 ? size - $1 : 0))" count="$1" bs=64k \
        status=none
}

verb_ct_exec() { # -t|- CT COMMAND...
    terminal=$1 ct=$2
    shift 2
    check_name "$ct"
    [ "$terminal" = -t ] || terminal=
    umask 022 # as its first process has it; runc hands ours on
    # By the container's shell, which says in one line what it does not find, and exits as shells do.
    exec $RUNC exec $terminal -- "$ct" /bin/sh -c 'exec "$@"' sh "$@"
}
