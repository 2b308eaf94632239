# The connections that a container's rules track: read on the source when nothing changes any more, as one more of the
# images, and made anew on the target before its sockets speak (connections.py). Nothing of this where no rule asks for them.

# Whether its rules ask what is tracked, or translate by it. Of what nft tells as JSON only keys have a colon behind them.
has_tracking_rules() { # PID
    in_network "$1" nft -j -s list ruleset 2> /dev/null |
        grep -qE '"(ct|ct [a-z]+|[sd]nat|masquerade|redirect|synproxy|flow|xt)"[[:space:]]*:'
}

count_tracked() { # PID   (0 where this kernel has not yet been asked to track anything)
    in_network "$1" cat /proc/sys/net/netfilter/nf_conntrack_count 2> /dev/null || echo 0
}

# Before the freeze: who reads stands ready, for a program that starts in a pause makes it longer.
stand_by_to_read() { # MOVE PID   (fills reader)
    reader=
    [ ! -e "$1/images/conntrack.img" ] || return 0 # a fence that is asked for again, frozen as it was
    rm -f "$1/read-ready" "$1/read-now"
    mkfifo "$1/read-now"
    exec 5<> "$1/read-now"
    in_network "$2" python3 -ESsB "$KIT/conntrack.py" dump "$1" \
        < "$1/read-now" > "$1/connections" 2> "$1/conntrack-failed" 3>&- 4>&- 5>&- 9>&- &
    reader=$!
    tries=200
    until [ -e "$1/read-ready" ]; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] && is_running "$reader" || break
        sleep 0.01
    done
}

# In the pause, frozen and behind a closed gate.
read_tracked() { # MOVE
    if [ -n "$reader" ]; then
        echo >&5
        exec 5>&-
        wait "$reader" || fail 12 "$(tail -n 1 "$1/conntrack-failed")"
    fi
    [ ! -e "$1/connections" ] || cat "$1/connections"
}
