# What a container's root has made in its network, beside what the container was made with: addresses, routes, rules,
# nft tables. It is read while the container still runs, and made anew on the target before its sockets are: a socket
# may be bound to such an address. Without counters. The connections that rules track are among CRIU's images.

CARRIED_BYTES_MAX=200000

own_network() { # PID   (read_net before)
    in_network "$1" sh "$KIT/own" "$(all_addresses)" "$n_gateways" "$n_routes" "$n_names"
}

all_addresses() {
    printf %s "$n_addresses"
    for at in $n_at; do
        printf ' %s' "${at#*,}"
    done
}

# Tells what is carried, a line each: what of it, and its bytes in base64. Nothing where there is nothing of its own.
carry_out() { # PID
    [ -n "$(own_network "$1" | grep -v '^link ')" ] || return 0
    # Of one card as of several: a save has no room for some of all links, and what no card has is told as the rest is.
    case $n_names in
        ' eth0') carried addresses in_network "$1" ip address save dev eth0 scope global ;;
        *) carried addresses in_network "$1" ip address save scope global ;;
    esac
    carried routes4 in_network "$1" ip -4 route save table all
    carried routes6 in_network "$1" ip -6 route save table all
    carried rules4 rules_of "$1" 4
    carried rules6 rules_of "$1" 6
    carried nft in_network "$1" nft -j -s list ruleset
}

# As words that make them again. Saved as routes are, the rules that every network has would be there twice.
rules_of() { # PID FAMILY
    in_network "$1" ip "-$2" rule show |
        sed -E '/from all lookup (local|main|default) *$/d; s/^([0-9]+):[[:space:]]*/rule add pref \1 /'
}

carried() { # WHAT COMMAND...
    what=$1
    shift
    printf 'carry %s %s\n' "$what" "$("$@" 2> /dev/null | base64 -w 0)"
}

# On the target: keeps what the source has told, until the restore asks for it.
verb_carry() { # CT TOKEN   (lines on stdin)
    move=$RUN/move/$1.$2
    lines=$(head -c "$CARRIED_BYTES_MAX")
    lock
    read_record "$1"
    check_run "$1" "$2"
    mkdir -p "$move/carry"
    printf '%s\n' "$lines" | while read -r what data; do
        case $what in
            addresses | routes4 | routes6 | rules4 | rules6 | nft) ;;
            *) refuse "nothing of a network: $what" ;;
        esac
        printf '%s' "$data" | base64 -d > "$move/carry/$what"
    done
}

# In the network of a container that is being restored. What is there already is left as it is.
carry_in() { # CT PID
    for dir in "$RUN/move/$1".[0-9]*/carry; do
        [ -d "$dir" ] || continue
        [ ! -s "$dir/addresses" ] || in_network "$2" ip address restore < "$dir/addresses"
        for family in 4 6; do
            [ ! -s "$dir/routes$family" ] || in_network "$2" ip "-$family" route restore < "$dir/routes$family"
            grep -E '^rule add pref [A-Za-z0-9./: _-]+$' "$dir/rules$family" | in_network "$2" ip "-$family" -batch -
        done
        [ ! -s "$dir/nft" ] || in_network "$2" nft -j -f - < "$dir/nft"
    done
}

# CRIU would hand what its source's kernel has told of tracked connections to this one as it came, and translated ones
# without their translation. Set aside, they are made anew (connections.py) while CRIU restores: who holds the copy waits
# for the lock, and asks for `made`. Where this node cannot, or a network inside the container has connections of its
# own, it is left to CRIU.
take_connections() { # CT PID
    [ -e "$RUN/conntrack" ] || return 0
    inside=$2
    for move in "$RUN/move/$1".[0-9]*; do
        set -- "$move"/images/netns-ct-*.img
        [ $# = 1 ] && [ -s "$1" ] || continue
        mv "$1" "$move/connections"
        rm -f "$move"/images/netns-exp-*.img # what helpers expect; it belongs to connections that CRIU finds none of now
        exec 5> "$move/making"
        flock 5
        make_connections "$inside" "$move" < /dev/null > /dev/null 2> "$move/connections-failed" &
        exec 5>&-
    done
}

make_connections() { # PID MOVE
    in_network "$1" python3 -ESsB "$KIT/conntrack.py" load "$2/connections"
    : > "$2/made"
}

# Whether its rules translate addresses or ports. Of what nft tells as JSON only keys have a colon behind them.
translates() { # PID
    in_network "$1" nft -j -s list ruleset 2> /dev/null | grep -qE '"([sd]nat|masquerade|redirect)"[[:space:]]*:'
}

# How many connections its rules track, and whether they translate; nothing where they do not.
tracks() { # PID
    count=$(in_network "$1" cat /proc/sys/net/netfilter/nf_conntrack_count 2> /dev/null) || count=0
    [ "$count" = 0 ] || echo "tracks $count"
    ! translates "$1" || echo 'translates yes'
}
