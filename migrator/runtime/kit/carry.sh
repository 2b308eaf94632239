# What a container's root has made in its network, beside what the container was made with: addresses, routes, rules,
# nf_tables. It is read while the container still runs, and made anew on the target before its sockets are: a socket
# may be bound to such an address. The connections that rules track are among CRIU's images.

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

# Tells what is carried, a line each: what of it, and its bytes in base64; and its mark. Nothing where there is nothing of
# its own.
carry_out() { # CT PID
    made=$(own_network "$2" | grep -v '^link ') || return 0
    # Of one card as of several: a save has no room for some of all links, and what no card has is told as the rest is.
    case $n_names in
        ' eth0') carried addresses in_network "$2" ip address save dev eth0 scope global ;;
        *) carried addresses in_network "$2" ip address save scope global ;;
    esac
    carried routes4 in_network "$2" ip -4 route save table all
    carried routes6 in_network "$2" ip -6 route save table all
    carried rules4 rules_of "$2" 4
    carried rules6 rules_of "$2" 6
    case $made in
        *'nft table '*)
            tell_rules "$1" "$2"
            printf 'carry nft %s\n' "${rules% *}"
            made="$made ${rules#* }"
            carried cards cards_of "$2" ;;
    esac
    printf 'mark %s\n' "$(printf %s "$made" | sha256sum | cut -c 1-16)" # the same as long as nothing is changed
}

verb_own_network() { # CT TOKEN
    read_record "$1"
    check_run "$1" "$2"
    has_processes "$1" || fail 12 "container $1 has no processes"
    read_net "$1"
    carry_out "$1" "$(init_pid "$1")"
}

# What a fence tells: what its target has not been given before, going by the mark of that.
carry_since() { # CT PID MARK|carried|''
    [ "$3" != carried ] || return 0
    now=$(carry_out "$1" "$2")
    [ -z "$3" ] || [ "${now##*mark }" != "$3" ] || return 0
    [ -n "$now" ] || [ -z "$3" ] || now='carry addresses ' # nothing of what it was given is there any more
    [ -z "$now" ] || printf '%s\n' "$now"
}

# Sets rules: they, and a number, the same for the same ones.
tell_rules() { # CT PID
    rules=$(in_network "$2" python3 -ESsB "$KIT/rules_out.py" all 2>&1) ||
        fail 12 "container $1: its node cannot read its rules ($(printf '%s\n' "$rules" | tail -n 1))"
}

# Rules may name a card by its number: NAME NUMBER lines.
cards_of() { # PID   (read_net before)
    in_network "$1" ip -o link show |
        awk -F ': ' -v cards=" $n_names " '{ sub(/@.*/, "", $2); if (index(cards, " " $2 " ")) print $2, $1 }'
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

# On the target: keeps what the source has told, until the restore asks for it. It knows already that it can be made,
# unless that has changed since the check.
verb_carry() { # CT TOKEN   (lines on stdin)
    move=$RUN/move/$1.$2
    lines=$(head -c "$CARRIED_BYTES_MAX")
    lock
    read_record "$1"
    check_run "$1" "$2"
    keep_carried "$move/carry"
}

keep_carried() { # DIRECTORY   (lines)
    mkdir -p "$1"
    printf '%s\n' "$lines" | while read -r what data; do
        case $what in
            addresses | routes4 | routes6 | rules4 | rules6 | nft | cards) ;;
            *) refuse "nothing of a network: $what" ;;
        esac
        printf '%s' "$data" | base64 -d > "$1/$what"
    done
}

# On a target, before a move touches anything: whether this node's kernel makes all of it. It is made in a network that
# nobody has, with the container's cards and addresses, and what is there then is held against what was told.
verb_check_network() { # CT NET_BYTES   (what `net` will say, and lines, on stdin)
    check_number "$2"
    scratch=$(mktemp -d "$RUN/.try.XXXXXX")
    trap 'rm -rf "$scratch"' EXIT
    mkdir -p "$scratch/containers/$1"
    head -c "$2" > "$scratch/containers/$1/net"
    lines=$(head -c "$CARRIED_BYTES_MAX")
    keep_carried "$scratch/move/$1.0/carry"
    said=$(timeout 20 unshare --net sh "$KIT/try-network" "$1" "$scratch" 2>&1 < /dev/null) ||
        echo "fault $(printf '%s\n' "${said:-it does not say why}" | tail -n 1 | tr -cd '[:print:]' | cut -c 1-200)"
}

# What number a card of a container that is being restored had, or nothing.
number_of_card() { # CT CARD
    for file in "$RUN/move/$1".[0-9]*/carry/cards; do
        [ ! -s "$file" ] || awk -v card="$2" '$1 == card && $2 ~ /^[0-9]+$/ { print $2; exit }' "$file"
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
        [ ! -s "$dir/nft" ] || in_network "$2" python3 -ESsB "$KIT/rules_in.py" "/proc/$2/ns/user" < "$dir/nft"
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

# What of its rules is not carried, whether they translate, and how many connections they track.
look_at_rules() { # PID
    looked=$(in_network "$1" python3 -ESsB "$KIT/rules_out.py" look 2>&1) ||
        looked="lost rules that its node cannot read ($(printf '%s\n' "$looked" | tail -n 1 | tr -cd '[:print:]'))"
    [ -z "$looked" ] || printf '%s\n' "$looked" | cut -c 1-200 | sed 's/^lost /own &/'
    count=$(in_network "$1" cat /proc/sys/net/netfilter/nf_conntrack_count 2> /dev/null) || count=0
    [ "$count" = 0 ] || echo "tracks $count"
}
