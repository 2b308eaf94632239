# What TCP has under way that no dump can hold: a handshake, a connection that waits to be accepted, the last bytes of
# one that its program has closed. Moved so, a client would wait for an answer that never comes. So, while the container
# runs on, no new handshake is let begin (its client tries again a second later, at the target), and those under way
# are let end; then, frozen and with the gate still open, the last bytes are let out.

# No SYN comes in. The table is the node's, made for this container's cables: nothing of it is inside, nor moves.
hold_back() { # CT   (read_net before)
    {
        echo "add table netdev migrator-$1"
        for cable in $n_ends; do
            echo "add chain netdev migrator-$1 hold-$cable { type filter hook egress device \"$cable\" priority 0; }"
            echo "flush chain netdev migrator-$1 hold-$cable"
            echo "add rule netdev migrator-$1 hold-$cable tcp flags & (syn|ack) == syn drop"
        done
    } | nft -f -
}
let_in() { nft delete table netdev "migrator-$1"; } # CT

# What of a container's TCP is not at rest, as "WORD PORT" lines: handshake, waiting, closing. For a listening socket the
# kernel writes the length of its queue where it writes the unread bytes of others; closed ones have no inode.
unrest() { # PID
    awk 'FNR == 1 { next }
        { split($5, queue, ":"); port = $2; sub(/.*:/, "", port); word = "" }
        $4 == "03" { word = "handshake" }
        $4 == "0A" && queue[2] !~ /^0+$/ { word = "waiting" }
        $4 ~ /^(04|09|0B)$/ && $10 == 0 && queue[1] !~ /^0+$/ { word = "closing" }
        word { print word, port }' "/proc/$1/net/tcp" "/proc/$1/net/tcp6" 2> /dev/null
}

at_rest() { ! unrest "$1" | grep -qv closing; } # PID

# The service is given half a second to accept what is there. A handshake that stays has lost its client.
await_accepted() { # CT PID
    tries=50
    while words=$(unrest "$2" | grep -v closing); do
        tries=$((tries - 1))
        if [ "$tries" = 0 ]; then
            port=$(printf '%s\n' "$words" | sed -n '/^waiting /{s///p;q;}')
            [ -n "$port" ] || return 0
            fail 12 "a connection to TCP port $((0x$port)) of $1 waits to be accepted, and cannot be moved so; try again later"
        fi
        sleep 0.01
    done
}

# How many are closing. This is asked in the pause.
closing() { # PID
    awk '{ split($5, queue, ":") } $4 ~ /^(04|09|0B)$/ && $10 == 0 && queue[1] !~ /^0+$/ { count++ }
        END { print count + 0 }' "/proc/$1/net/tcp" "/proc/$1/net/tcp6" 2> /dev/null
}

# Last bytes go out within one round trip; a client that takes none for a quarter of a second will miss them, and the
# number of such is told.
await_last_bytes() { # PID
    tries=25
    while unsent=$(closing "$1") && [ "$unsent" != 0 ]; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || break
        sleep 0.01
    done
}
