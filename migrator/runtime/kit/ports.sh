# Published ports: the node's own address translation leads a port of the node to one of a container. The rules stand before
# its gate opens and go with its cable. n_ports has words
# PROTOCOL,HOSTIP or -,PORT,ADDRESS,CTPORT,NETWORK[,NETWORK...] (read_net).

ports_table() { echo "inet migrator-ports-$1"; } # CT

# Also again: what was there is replaced, in one step.
publish() { # CT
    [ -n "$n_ports" ] || return 0
    {
        echo "add table $(ports_table "$1")"
        echo "delete table $(ports_table "$1")"
        echo "table $(ports_table "$1") {"
        echo "chain in { type nat hook prerouting priority dstnat; fib daddr type local jump to-it; }"
        echo "chain own { type nat hook output priority dstnat; ip daddr 127.0.0.0/8 return; ip6 daddr ::1 return; fib daddr type local jump to-it; }"
        echo "chain to-it {"
        for port in $n_ports; do
            port_rule "$port" to_rule
        done
        echo '}'
        # A neighbour on the bridge of one of its cards would be answered past the node.
        echo "chain back { type nat hook postrouting priority srcnat;"
        for port in $n_ports; do
            port_rule "$port" back_rule
        done
        echo '}'
        echo '}'
    } | nft -f -
}

unpublish() { [ -z "$n_ports" ] || nft delete table $(ports_table "$1") 2> /dev/null || :; } # CT

port_rule() { # PORT FUNCTION
    p_protocol=${1%%,*} p_rest=${1#*,}
    p_host=${p_rest%%,*} p_rest=${p_rest#*,}
    p_port=${p_rest%%,*} p_rest=${p_rest#*,}
    p_to=${p_rest%%,*} p_rest=${p_rest#*,}
    p_inside=${p_rest%%,*} p_network=${p_rest#*,}
    case $p_to in
        *:*) p_family=ip6 p_nfproto=ipv6 p_target="[$p_to]:$p_inside" ;;
        *) p_family=ip p_nfproto=ipv4 p_target="$p_to:$p_inside" ;;
    esac
    "$2"
}

to_rule() {
    case $p_host in
        -) where="meta nfproto $p_nfproto" ;;
        *) where="$p_family daddr $p_host" ;;
    esac
    echo "$where $p_protocol dport $p_port dnat $p_family to $p_target"
}

back_rule() { echo "ct status dnat $p_family saddr { $p_network } $p_family daddr $p_to $p_protocol dport $p_inside masquerade"; }

# Why this node could not publish these ports (PROTOCOL,HOSTIP or -,PORT) of a container with these gateways, if it has any:
# lines of `fault`. Rules of containers are their descriptors' to tell.
verb_see_ports() { # GATEWAYS (separated by commas, or -) PORTS...
    gateways=$1
    shift
    [ "$(setting net/ipv4/ip_forward)" != 0 ] || echo 'fault it forwards nothing; allow it with: sysctl -w net.ipv4.ip_forward=1'
    [ "$gateways" != - ] || { echo 'fault the container has no gateway; give it --gateway, an address of its bridge there' && gateways=; }
    for gateway in $(printf %s "$gateways" | tr , ' '); do
        check_address_word "$gateway"
        is_own "$gateway" || echo "fault the container's gateway $gateway is not an address of it, and answers would go elsewhere; give its bridge that address"
    done
    for port in "$@"; do
        p_protocol=${port%%,*} p_host=${port#*,} p_port=${port##*,}
        p_host=${p_host%,*}
        case $p_protocol in
            tcp | udp) ;;
            *) refuse "not a protocol: $p_protocol" ;;
        esac
        check_number "$p_port"
        if [ "$p_host" != - ]; then
            check_address_word "$p_host"
            is_own "$p_host" || echo "fault $p_host is not an address of it, so nothing comes to its port $p_port/$p_protocol; leave the address out"
        fi
        owner=$(listener)
        [ -z "$owner" ] || echo "fault port $p_port/$p_protocol is in use ($owner); end that, or publish another"
    done
}

check_address_word() {
    case $1 in
        '' | *[!0-9a-f.:]*) refuse "not an address: $1" ;;
    esac
}

is_own() { [ -n "$(ip -o address show to "$1" 2> /dev/null)" ]; } # ADDRESS

# What listens where a published port would be: at any address of the node, at the same, or where any is meant.
listener() {
    case $p_protocol in
        tcp) kind=t ;;
        udp) kind=u ;;
    esac
    ss "-Hln$kind" "sport = :$p_port" 2> /dev/null | awk -v host="$p_host" '
        { at = $4; sub(/:[0-9]*$/, "", at); gsub(/[][]|%.*/, "", at) }
        at ~ /^(127\.|::1$)/ && host == "-" { next }
        host == "-" || at == "*" || at == "0.0.0.0" || at == "::" || at == host { print "something listens at " $4; exit }'
}
