# The held copy on a target: whether it is whole, who can let it go, and how long one waits for it. Sourced by node.

# Waits until the restore holds, or has failed.
verb_await_held() { # CT TOKEN TIMEOUT_S
    ct=$1
    check_number "$3"
    move=$RUN/move/$ct.$2
    read_record "$ct"
    check_token "$ct" "$2"
    # After a take-over the copy is held under an older token, and there is nothing to wait for.
    if [ -d "$move" ] && [ ! -e "$move/held" ] && [ ! -e "$move/ended" ]; then
        exec 7<> "$move/woke"
        timeout "$3" head -n 1 <&7 > /dev/null || :
    fi
    if is_held "$ct"; then
        lock
        read_record "$ct"
        check_token "$ct" "$2"
        if [ "$r_state" = reserved ]; then
            boot_id
            r_state=held r_boot=$boot_id
            ! is_created "$ct" || r_cold=yes
            write_record "$ct"
        fi
        echo 'held yes'
        read_net "$ct"
        bridge_is_there || echo "gate_error $(gate_error)" # told, not failed: it may be the only copy there is
        if [ -e "${held%/held}/census" ]; then
            cat "${held%/held}/census"
        else
            census "$ct"
        fi
    else
        echo 'held no'
        why_not_held "$ct"
    fi
}

# Of a restore that has neither ended nor holds: what is missing, for who reads the error.
why_not_held() { # CT
    for move in "$RUN/move/$1".[0-9]*; do
        if [ -e "$move/ended" ]; then
            echo 'why it has ended'
        elif [ -e "$move/held" ]; then
            can_let_go "$move" || echo 'why who held it has died'
            read -r whole < "$move/held"
            echo "why it held $whole processes, and $(count_processes "$1") are there"
        elif [ -p "$move/images/inventory.img" ] && [ ! -e "$move/came" ]; then
            echo 'why its images have not come'
        elif [ -p "$move/images/inventory.img" ] && [ ! -e "$move/files-came" ]; then
            echo 'why the last pass over its files has not come'
        elif [ -e "$move/criu" ]; then
            echo 'why its memory is not in its place'
        elif [ -s "$move/work/restore.log" ]; then
            echo "why CRIU goes on: $(tail -n 1 "$move/work/restore.log")"
        else
            echo 'why CRIU has not begun'
        fi
    done
}

# Whole, not only there: a copy of which the kernel has killed a part for its memory is not the one that was verified,
# and CRIU, which stands in the same group, lives on. Nor is one whole before the last pass over its files has come, which
# streamed memory may overtake.
is_held() { # CT
    for held in "$RUN/move/$1".[0-9]*/held; do
        [ -e "$held" ] && [ ! -e "${held%/held}/ended" ] || continue
        [ ! -p "${held%/held}/images/inventory.img" ] || [ -e "${held%/held}/files-came" ] || continue
        can_let_go "${held%/held}" || continue
        read -r whole < "$held"
        [ "$(count_processes "$1")" != "$whole" ] || return 0
    done
    return 1
}

# Whether who holds the copy can still let it go. Half of a restore may look whole: its processes outlive their CRIU, in
# code of CRIU's own, for as long as it takes until that is seen. And of streamed memory CRIU says at its end that it is
# through: it fails where nobody hears that.
can_let_go() { # MOVE
    for holders in "$1/criu" "$1/listener"; do
        [ -e "$holders" ] || continue
        while read -r pid; do
            is_running "$pid" 2> /dev/null || return 1
        done < "$holders"
    done
}

all_can_let_go() { # CT
    for held in "$RUN/move/$1".[0-9]*/held; do
        [ ! -e "$held" ] || can_let_go "${held%/held}" || return 1
    done
}

# Where CRIU died after it was told to let go and before it had, what has processes is no container. It is ended, and a
# mark says so until somebody decides: the source has all of it still. Tells why, each time it is asked.
end_if_not_let_go() { # MOVE
    job=$RUN/jobs/${1##*/}.restore
    if [ -e "$1/going" ] && [ ! -e "$1/not-let-go" ] && [ -d "$job" ] && [ "$(cat "$job/status" 2> /dev/null)" != 0 ] &&
        ! grep -aq 'Restore finished successfully' "$1/work/restore.log"; then
        criu_error "$1/work/restore.log" > "$1/not-let-go"
        gate_close || :
        kill_processes "$ct"
    fi
    [ ! -e "$1/not-let-go" ] || echo "not_let_go CRIU: $(cat "$1/not-let-go")"
}

# Waits, after the release of post-copy, until every page is in its place: yes, not yet, or lost, when the container was
# killed because its memory can no longer come.
verb_await_filled() { # CT TOKEN TIMEOUT_S
    check_number "$3"
    read_record "$1"
    check_token "$1" "$2"
    boot_id
    [ "$r_state" != released ] || [ "$r_boot" = "$boot_id" ] || {
        echo 'filled lost'
        return 0
    }
    for move in "$RUN/move/$1".[0-9]*; do
        [ -e "$move/follows" ] || continue
        if ! flock -w "$3" "$move/filling" true; then
            echo 'filled no'
            return 0
        fi
        [ -e "$move/filled" ] || {
            echo 'filled lost'
            return 0
        }
    done
    echo 'filled yes'
}
