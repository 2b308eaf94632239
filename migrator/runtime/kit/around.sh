# What surrounds a container, changed with its limits (limits.sh): its disk's limits, name, routes, sysctls, rules, who
# starts it again; of a stopped one its addresses and ports, too.
#
# They come as files beside the new descriptor, $part.NAME, and are put in their places with it. A running container gets
# what is another than in the files that are there: a second call does what is left. Rules go last, for they are taken
# by the kernel all or none; what was done before is taken back if they are not.

# The words of a change that is more than one of limits; all of them, or none.
read_around() { # [IO NET_BYTES RESOLV_BYTES FIREWALL_BYTES HOSTNAME|- ONLY_STOPPED|- [RESTART|-]]
    a_io= a_hostname=- a_only=- a_restart=-
    [ $# -gt 0 ] || return 0
    check_io "$1"
    for number in "$2" "$3" "$4"; do
        check_number "$number"
    done
    case $5 in
        - | [A-Za-z0-9]*) ;;
        *) refuse "not a host's name: $5" ;;
    esac
    case ${7:--} in
        - | no | always) ;;
        *) refuse "not a policy of restarting: $7" ;;
    esac
    a_io=$1 a_hostname=$5 a_only=$6 a_restart=${7:--}
}

receive_around() { # [IO NET_BYTES RESOLV_BYTES FIREWALL_BYTES ...]
    [ $# -gt 0 ] || return 0
    head -c "$2" > "$part.net"
    head -c "$3" > "$part.resolv.conf"
    head -c "$4" > "$part.firewall"
    : > "$part.io"
    [ "$1" = 0,0,0,0 ] || echo "$1" > "$part.io"
    [ "$a_restart" = - ] || echo "$a_restart" > "$part.restart"
    [ "$(stat -c %s "$part.net") $(stat -c %s "$part.resolv.conf") $(stat -c %s "$part.firewall")" = "$2 $3 $4" ]
}

# Equal, where a file that is not there is an empty one.
as_kept() { # FILE
    if [ -s "$part.$1" ]; then cmp -s "$part.$1" "$CONTAINERS/$ct/$1"; else [ ! -s "$CONTAINERS/$ct/$1" ]; fi
}

around_is_kept() {
    [ -e "$part.net" ] || return 0
    for file in net resolv.conf firewall io restart; do
        [ ! -e "$part.$file" ] || as_kept "$file" || return 1
    done
}

check_around() {
    [ -e "$part.net" ] || return 0
    as_kept io || [ ! -s "$part.io" ] || can_limit_io ||
        refuse "this node cannot limit the disk of $ct: its kernel has no controller for it, or its containers are on no block device; leave --io out, or move it first"
    ! runs_here || [ "$a_only" = - ] ||
        refuse "container $ct runs, and $(what_only "$a_only") only while it is stopped: migrator ct stop $ct, then again"
}

what_only() { # WORD,...
    case $1 in
        devices*) echo 'its devices are changed' ;;
        resolver*) echo 'whether it has a resolv.conf of ours is changed' ;;
        addresses*) echo 'its addresses are changed' ;;
        gateways*) echo 'its gateways are changed' ;;
        environment*) echo 'its environment is changed' ;;
        ports*) echo 'its published ports are changed' ;;
        *) echo 'a sysctl is taken away' ;;
    esac
}

keep_around() {
    [ -e "$part.net" ] || return 0
    # What has ended by itself has left its published ports, which nobody would find by the new ones.
    [ "$a_only" = - ] || as_kept net || take_cable "$ct" || return 1
    for file in net resolv.conf firewall io restart; do
        [ ! -e "$part.$file" ] || as_kept "$file" || put_file "$part.$file" "$ct" "$file" || return 1
    done
}

# Restarters go by the new policy: where it is always, what has ended is started by the keeper that is made. Also again,
# for one that died before it came here.
follow_policy() {
    [ "$a_restart" != - ] || return 0
    was=$r_armed
    arm "$ct"
    [ "$r_armed" = "$was" ] || write_record_new "$ct" || {
        echo "who starts $ct again is written down, and its record cannot be: the disk of this node is full, or broken" >&2
        return 1
    }
    if [ "$r_armed" = yes ]; then
        keeper_start "$ct"
    else
        keeper_end "$ct"
    fi
}

enforce_around() {
    [ -e "$part.net" ] || return 0
    if ! as_kept io; then
        hold_io "$ct" "$a_io" || { hold_io_kept; return 1; }
    fi
    [ "$a_hostname" = - ] && as_kept net && as_kept firewall && return 0
    inside=$(init_pid "$ct")
    [ -n "$inside" ] || { echo 'its first process is not there'; return 1; }
    was_called=$(in_names "$inside" hostname)
    was_set=$(values_now "$inside" $(news sysctl "$part.net" "$CONTAINERS/$ct/net"))
    change_around "$a_hostname" "$part.net" "$CONTAINERS/$ct/net" && change_rules && return 0
    back=-
    [ "$a_hostname" = - ] || back=$was_called
    hold_io_kept
    change_around "$back" "$CONTAINERS/$ct/net" "$part.net" > /dev/null 2>&1 || :
    n_sysctls=$was_set
    set_sysctls "$inside" > /dev/null 2>&1 || :
    return 1
}

hold_io_kept() {
    before=0,0,0,0
    [ ! -s "$CONTAINERS/$ct/io" ] || read -r before < "$CONTAINERS/$ct/io"
    hold_io "$ct" "$before" > /dev/null || :
}

in_names() { # PID COMMAND...
    pid=$1
    shift
    nsenter --uts="/proc/$pid/ns/uts" "$@"
}

change_around() { # HOSTNAME|- NET_FILE NET_FILE_OF_BEFORE
    [ "$1" = - ] || in_names "$inside" hostname "$1" || return 1
    for route in $(news route "$2" "$3"); do
        in_network "$inside" ip route replace "${route%%=*}" via "${route#*=}" dev "$(card_by "${route#*=}" "$2")" onlink ||
            return 1
    done
    for route in $(news route "$3" "$2"); do # one that its root has removed is gone already
        in_network "$inside" ip route del "${route%%=*}" via "${route#*=}" dev "$(card_by "${route#*=}" "$3")" 2> /dev/null || :
    done
    n_sysctls=$(news sysctl "$2" "$3")
    set_sysctls "$inside"
}

# Values of KEY that the first has and the second has not.
news() { # KEY FILE OTHER
    sed -n "s/^$1 //p" "$2" | grep -vxF "$(sed -n "s/^$1 //p" "$3"; echo -)" || :
}

# The same sysctls with what they are now, as set_sysctls takes them.
values_now() { # PID NAME=VALUE...
    [ $# -gt 1 ] || return 0
    pid=$1
    shift
    in_network "$pid" sh -c 'for pair; do
            ! value=$(cat "/proc/sys/${pair%%=*}" 2> /dev/null) || echo "${pair%%=*}=$(echo $value | tr " " ,)"
        done' sh "$@"
}

change_rules() {
    ! as_kept firewall || return 0
    {
        echo 'flush ruleset'
        cat "$part.firewall"
    } | in_network "$inside" timeout 20 nft -f - || { echo 'nft does not take the rules'; return 1; }
}
