# A container's network as its node has it: what is written of it, and the gate. Sourced by lib.sh.

# Reads the network file beside the bundle into n_*, lists of words. A container has one card, eth0, or more: n_nics has
# NAME,CABLE,BRIDGE,MAC for each, n_cables CABLE,BRIDGE, n_ends CABLE, n_links NAME=MAC; n_ports are published ones (ports.sh); n_at has NAME,ADDRESS of those but the first, and
# n_by GATEWAY=NAME where it is not reached by the first.
read_net() {
    n_veth= n_bridge= n_mac= n_addresses= n_gateways= n_routes= n_sysctls= n_nics= n_at= n_ports= n_ct=$1
    while read -r key value; do
        case $key in
            veth | bridge | mac) eval "n_$key=\$value" ;;
            address) n_addresses="$n_addresses $value" ;;
            gateway) n_gateways="$n_gateways $value" ;;
            route) n_routes="$n_routes $value" ;;
            sysctl) n_sysctls="$n_sysctls $value" ;;
            nic) n_nics="$n_nics $value" ;;
            at) n_at="$n_at $value" ;;
            port) n_ports="$n_ports $value" ;;
        esac
    done < "$CONTAINERS/$1/net" || return
    n_nics="eth0,$n_veth,$n_bridge,$n_mac$n_nics" n_cables= n_ends= n_links= n_names=
    for n_nic in $n_nics; do
        n_names="$n_names ${n_nic%%,*}" n_links="$n_links ${n_nic%%,*}=${n_nic##*,}"
        n_nic=${n_nic#*,}
        n_cables="$n_cables ${n_nic%,*}" n_ends="$n_ends ${n_nic%%,*}"
    done
}

# Runs a command in a process's network. By path: asked for by --target, a held process leaves nsenter where it was.
in_network() { # PID COMMAND...
    pid=$1
    shift
    nsenter --net="/proc/$pid/ns/net" "$@"
}

# The gate is all of a container's cables: open is each in its bridge, closed is none. One that does not open whole is
# closed again.
gate_close() {
    for cable in $n_ends; do
        ip link set dev "$cable" nomaster 2> /dev/null || [ ! -e "/sys/class/net/$cable" ] || return 1
    done
}
gate_open() {
    publish "$n_ct" || return 1
    for cable in $n_cables; do
        ip link set dev "${cable%,*}" master "${cable#*,}" || { gate_close; return 1; }
    done
}
# Removes the cables; they may go by themselves meanwhile, when their namespace dies.
cut_cable() {
    for cable in $n_ends; do
        ip link del "$cable" 2> /dev/null || [ ! -e "/sys/class/net/$cable" ] || return 1
    done
    unpublish "$n_ct"
}
# Why it does not open; a gate that could is not asked by this.
gate_error() {
    if ! bridge_is_there; then
        echo "bridge $lost is not there"
    elif ! publish "$n_ct" 2> /dev/null; then
        echo 'nft does not publish its ports'
    else
        echo "bridge $n_bridge does not take its cable"
    fi
}
bridge_is_there() { # sets lost
    for cable in $n_cables; do
        lost=${cable#*,}
        [ -d "/sys/class/net/$lost/bridge" ] || return 1
    done
}
gate_is_open() {
    for cable in $n_ends; do
        [ -e "/sys/class/net/$cable/brport" ] || return 1
    done
}
gate_is_closed() {
    for cable in $n_ends; do
        [ ! -e "/sys/class/net/$cable/brport" ] || return 1
    done
}
