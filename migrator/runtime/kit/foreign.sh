# Containers that a runtime began without us: looked at, and made ours while they run.

check_foreign() { # ROOT ID
    is_plain_path "$1" || refuse "not a directory of a runtime's: $1"
    case $1/ in
        "$RUN"/*) refuse "what is under $1 is Migrator's own" ;;
    esac
    case $2 in
        '' | .* | -* | *[!A-Za-z0-9_.+-]*) refuse "not a container's id: $2" ;;
    esac
    has_python || fail 12 'Python 3.10 or newer is not there; install python3'
}

# What it is, as one line of JSON; nothing of it is changed.
verb_foreign_look() { # ROOT ID
    check_foreign "$1" "$2"
    python3 -ESsB "$KIT/foreign.py" look "$1" "$2"
}

# Makes it the container that has been described by now, while it runs on. It is this one by its first process and when that
# began (CREATOR), so a second call finds what the first has left. The runtime's note of it is written as ours late, and the
# one that it had goes last: until then it can be looked at as before, and all of this be done again.
verb_ct_take() { # CT CREATOR ROOT ID
    ct=$1
    check_foreign "$3" "$4"
    lock
    read_record "$ct"
    is_creator "$2" || refuse "container $ct here was made by somebody else"
    check_not_leased "$ct"
    read_net "$ct"
    if [ "$r_state" != serving ] || [ ! -d "$RUN/runc/$ct" ]; then
        take_foreign "$3" "$4" "$2"
    fi
    announce "$ct"
    keeper_start "$ct"
    python3 -ESsB "$KIT/foreign.py" forget "$ct" "$3" "$4"
}

take_foreign() { # ROOT ID CREATOR
    python3 -ESsB "$KIT/foreign.py" take "$ct" "$1" "$2" "$CONTAINERS/$ct/upper" "$n_veth" "$n_mac" "$3"
    rm -f "$CONTAINERS/$ct/fresh" # it is who it was
    pid=$(init_pid "$ct")
    [ -n "$pid" ] || fail 12 "container $2 has ended meanwhile"
    [ -e "/sys/class/net/$n_veth" ] || echo "\"pid\": $pid" | "$KIT/net-hook" "$ct"
    gate_open || fail 12 "container $ct is cut off: $(gate_error)"
    boot_id
    r_state=serving r_boot=$boot_id
    arm "$ct"
    write_record "$ct"
    python3 -ESsB "$KIT/foreign.py" note "$ct" "$1" "$2" "$CONTAINERS/$ct/upper"
}

# What an adoption has moved here is somebody's only copy: a clean-up puts it back, or fails.
give_files_back() { # CT
    [ -e "$CONTAINERS/$1/taken-from" ] || return 0
    unmount_root "$1"
    python3 -ESsB "$KIT/foreign.py" give-back "$1" "$CONTAINERS/$1/upper" || exit
}
