# A container's network beside its addresses and routes: sysctls, and rules of nftables, as its descriptor has them.

# The card by which a gateway is reached, as the file `net` of its container says.
card_by() { # GATEWAY NET_FILE
    while read -r key by; do
        case "$key $by" in "by $1="*) echo "${by##*=}"; return ;; esac
    done < "$2"
    echo eth0
}

# A container has the addresses it was made with, and no others; and each at once, though nobody can be asked behind a
# closed gate whether another has it: that was asked before. A restored socket would not find one that waits.
lay_network() { # PID   (read_net before)
    {
        echo 'link set lo up'
        for at in $n_addresses $n_at; do
            case $at in
                *,*) card=${at%%,*} ;;
                *) card=eth0 ;;
            esac
            case $at in
                *:*) echo "address add ${at#*,} dev $card nodad" ;;
                *) echo "address add ${at#*,} dev $card" ;;
            esac
        done
        for card in $n_names; do
            echo "link set $card up"
        done
        # Also through a gateway outside of its networks, which routed sites have.
        for gateway in $n_gateways; do
            echo "route add default via $gateway dev $(card_by "$gateway" "$CONTAINERS/$n_ct/net") onlink"
        done
        for route in $n_routes; do
            echo "route add ${route%%=*} via ${route#*=} dev $(card_by "${route#*=}" "$CONTAINERS/$n_ct/net") onlink"
        done
    } | in_network "$1" sh -ec 'for card; do
            cd "/proc/sys/net/ipv6/conf/$card" 2> /dev/null || continue
            echo 0 > disable_ipv6
            echo 0 > accept_ra
            echo 0 > accept_dad
        done
        exec ip -batch -' sh $n_names
}

# In the container's network whoever writes, for these are of the network that one stands in. NAME=VALUE, with slashes in
# the name and commas for blanks in the value. The list of names is the orchestrator's; nothing here leaves /proc/sys/net.
set_sysctls() { # PID   (n_sysctls)
    [ -n "$n_sysctls" ] || return 0
    # shellcheck disable=SC2086
    in_network "$1" sh -ec '
        for pair; do
            name=${pair%%=*}
            case $name in
                *..* | [!n]* | n[!e]* | *[!A-Za-z0-9_/]*) exit 1 ;;
                net/*) ;;
                *) exit 1 ;;
            esac
            value=$(printf %s "${pair#*=}" | tr , " ")
            { echo "$value" > "/proc/sys/$name"; } 2> /dev/null || { echo "sysctl $name: this kernel takes no $value" >&2; exit 1; }
        done' sh $n_sysctls
}

# Whether the container is made by a restore: then its rules are those that it had, which may be others by now than it was
# made with, and are carried (carry.sh). What a restore stands in is CRIU itself until it is over.
is_restored() { # PID
    read -r comm < "/proc/$1/comm"
    [ "$comm" = criu ]
}

load_firewall() { # PID FILE
    in_network "$1" timeout 20 nft -f - < "$2"
}

# Whether nft takes these rules, asked in a network that nobody has. What it says of them is told in one line.
verb_check_firewall() { # BYTES   (rules on stdin)
    check_number "$1"
    rules=$(head -c 100000; echo .)
    [ "$(printf %s "${rules%.}" | wc -c)" = "$1" ] || fail 1 'the rules came cut short'
    code=0
    said=$(printf %s "${rules%.}" | unshare --net timeout 20 nft -c -f - 2>&1) || code=$?
    [ "$code" != 124 ] || said='it has no end within 20 s: a command that goes on, such as monitor, is no rule'
    [ "$code" = 0 ] ||
        echo "fault $(printf %s "${said:-it does not say why}" | tr -cd '[:print:]\n' | sed -n 's|^/dev/stdin:||; 1p' | cut -c 1-200)"
}
