# Who is let in from node to node: the key of one migration, the connections that came with it, and their end.
#
#   keys/CT.TOKEN            the key itself           (source)
#   keys/CT.TOKEN.master     the ssh that is the link (source)
#   keys/CT.TOKEN.until      when the key ends        (target)
#   keys/CT.TOKEN.in         the file that lets it in (target)
#   keys/CT.TOKEN.session-*  an sshd that let it in   (target)
#
# A process is written down as "PID START": a pid alone may be another's tomorrow, with its start it is the same or none.

# Fills process_start; fails when there is no such process, or only what its parent has not reaped.
process_start() { # PID
    read -r stat 2> /dev/null < "/proc/$1/stat" || return 1
    # shellcheck disable=SC2086
    set -- ${stat##*) }
    [ "$1" != Z ] || return 1
    shift 19
    process_start=$1
}

note_process() { # FILE PID
    process_start "$2" || return 0
    echo "$2 $process_start" > "$1"
}

# Ends a process that was written down, and waits until it is gone.
end_process() { # FILE
    read -r pid began < "$1" || pid=0 began=0
    tries=0
    while process_start "$pid" && [ "$process_start" = "$began" ]; do
        kill -9 "$pid" 2> /dev/null || :
        tries=$((tries + 1))
        [ "$tries" -lt 500 ] || fail 12 "process $pid does not end"
        sleep 0.01
    done
    rm -f "$1"
}

# The nearest sshd above a process: the one that serves its connection, and only that.
session_of() { # PID
    set -- "$1" ''
    while [ "$1" -gt 1 ] && read -r stat 2> /dev/null < "/proc/$1/stat"; do
        name=${stat#*\(}
        case ${name%)*} in
            sshd | sshd-*)
                echo "$1"
                return 0 ;;
        esac
        rest=${stat##*) }
        rest=${rest#* }
        set -- "${rest%% *}" ''
    done
}

# Ends what keys of a container's older tokens (or, without a bound, of any) still can do here: first nobody new comes
# in, then who is in goes out.
end_access() { # CT [BELOW]
    revoke_keys "$1"
    for file in "$RUN/keys/$1".[0-9]*; do
        [ -e "$file" ] || continue
        rest=${file##*/}
        rest=${rest#"$1".}
        [ -z "${2:-}" ] || [ "${rest%%.*}" -lt "$2" ] || continue
        case $file in
            *.session-* | *.master) end_process "$file" ;;
            *) rm -f "$file" ;;
        esac
    done
    close_links "$1"
}

close_links() { # CT
    for file in "$RUN/keys/$1".[0-9]*.master; do
        [ ! -e "$file" ] || end_process "$file"
    done
    for socket in "$RUN/links/$1".[0-9]*; do
        [ -S "$socket" ] || continue
        # For one that nobody has written down yet; of one that was just ended only the name is left.
        timeout 5 ssh -F /dev/null -S "$socket" -O exit peer > /dev/null 2>&1 || :
        rm -f "$socket"
    done
}

# --- the source's side ------------------------------------------------------------------------------------------

check_host() {
    case $1 in
        '' | [!A-Za-z0-9]* | *[!A-Za-z0-9.:_-]*) refuse "not a host: $1" ;;
    esac
}

check_key() { # TYPE KEY
    case $1 in
        '' | *[!a-z0-9@.-]*) refuse 'not a type of key' ;;
    esac
    case $2 in
        '' | *[!A-Za-z0-9+/=]*) refuse 'not a key' ;;
    esac
}

# Where the network between the nodes is declared trusted: at which of the target's addresses memory may come beside ssh
# (plain.py). Only the orchestrator says so, and to both; nothing is open yet.
declare_plain() { # MOVE [ADDRESS]
    [ -n "$2" ] || return 0
    check_address "$2"
    echo "$2" > "$1/plain"
}

check_address() {
    case $1 in
        '' | *[!0-9a-f.:]*) refuse "not an address: $1" ;;
    esac
}

# Makes the key of this one migration, in memory, and prints its public half, and the address it will come from.
verb_keygen() { # CT TOKEN PEER_HOST
    ct=$1
    check_host "$3"
    lock
    read_record "$ct"
    check_run "$ct" "$2"
    key=$RUN/keys/$ct.$2
    [ -s "$key.pub" ] || rm -f "$key" # the public half is written last
    [ -e "$key" ] || ssh-keygen -q -t ed25519 -N '' -C "migrator:$ct.$2" -f "$key"
    read -r kind public _ < "$key.pub"
    echo "key $kind $public"
    peer=$(getent ahosts "$3" | sed -n '1s/ .*//p')
    [ -n "$peer" ] || fail 1 "node to node: the name $3 is not known here; declare a migration_address"
    ip route get "$peer" | sed -n 's/.* src \([0-9a-f.:]*\).*/address \1/p'
}

# Opens the one connection that everything of this migration goes through; it ends by itself when idle.
verb_link() { # CT TOKEN USER ADDRESS PORT HOST_KEY_TYPE HOST_KEY [plain]
    ct=$1 token=$2
    case $3 in
        '' | [!A-Za-z_]* | *[!A-Za-z0-9_.-]*) refuse "not a user: $3" ;;
    esac
    check_host "$4"
    check_number "$5"
    check_key "$6" "$7"
    read_record "$ct"
    check_run "$ct" "$token"
    declare_plain "$RUN/move/$ct.$token" "${8:+$4}"
    socket=$RUN/links/$ct.$token
    [ ! -S "$socket" ] || ! ssh -F /dev/null -S "$socket" -O check peer 2> /dev/null || return 0
    rm -f "$socket"
    known=$RUN/keys/$ct.$token.known
    echo "peer $6 $7" > "$known"
    answer=$(ssh -F /dev/null -i "$RUN/keys/$ct.$token" -o IdentitiesOnly=yes -o BatchMode=yes \
        -o HostKeyAlias=peer -o UserKnownHostsFile="$known" -o StrictHostKeyChecking=yes \
        -o GlobalKnownHostsFile=/dev/null -o ConnectTimeout=10 -o ServerAliveInterval=5 -o ServerAliveCountMax=3 \
        -o ControlMaster=yes -o ControlPath="$socket" -o ControlPersist=900 \
        -o Ciphers=aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com \
        -p "$5" -l "$3" -- "$4" ping < /dev/null)
    [ "$answer" = pong ] || fail 1 "node to node: $4 answered something else than Migrator"
    note_link
    # A connection that has carried nothing yet sends its first megabytes slowly (measured: 100 ms of 256 MiB); that
    # time is spent here and not in the pause. One that is held back needs less.
    warm_bytes=4194304 bytes_per_s=''
    [ ! -e "$RUN/move/$ct.$token/bandwidth" ] || read -r bytes_per_s < "$RUN/move/$ct.$token/bandwidth"
    [ "${bytes_per_s:-$warm_bytes}" -ge "$warm_bytes" ] || warm_bytes=$bytes_per_s
    head -c "$warm_bytes" /dev/zero | on_link "$ct" "$token" warm-up
}

# Writes down the ssh that stands behind the link; a link that a later lease could not have seen is ended here.
note_link() {
    master=$(ssh -F /dev/null -S "$socket" -O check peer 2>&1 | sed -n 's/.*(pid=\([0-9]*\)).*/\1/p')
    lock
    read_record "$ct"
    [ "$r_token" = "$token" ] || close_links "$ct"
    check_token "$ct" "$token"
    [ -z "$master" ] || note_process "$RUN/keys/$ct.$token.master" "$master"
    unlock
}

# No host is looked up: the connection stands.
LINK='ssh -F /dev/null -o BatchMode=yes -o ControlMaster=no'

on_link() { # CT TOKEN COMMAND
    $LINK -o ControlPath="$RUN/links/$1.$2" peer "$3"
}

# --- the target's side ------------------------------------------------------------------------------------------

# Lets the source's key in: for one command, from one address, until a time.
verb_admit() { # CT TOKEN SOURCE_ADDRESS LIFETIME_S KEY_TYPE KEY [LISTEN_ADDRESS]
    ct=$1
    check_address "$3" # nor a pattern, nor a whole network
    check_number "$4"
    check_key "$5" "$6"
    lock
    read_record "$ct"
    check_run "$ct" "$2"
    declare_plain "$RUN/move/$ct.$2" "${7:-}"
    user=${SUDO_USER:-root}
    sudo=
    [ -z "${SUDO_USER:-}" ] || sudo='sudo -n '
    ssh_dir=$(getent passwd "$user" | cut -d: -f6)/.ssh
    [ -d "$ssh_dir" ] || install -d -m 700 -o "$user" "$ssh_dir"
    ends_s=$(($(date +%s) + $4))
    until=$(date -d "@$ends_s" +%Y%m%d%H%M%S)
    options="restrict,from=\"$3\",expiry-time=\"$until\",command=\"${sudo}sh $KIT/receive $ct $2 \\\"\$SSH_ORIGINAL_COMMAND\\\"\""
    echo "$ends_s" > "$RUN/keys/$ct.$2.until"
    echo "$ssh_dir/authorized_keys" > "$RUN/keys/$ct.$2.in" # before the key: whoever ends it may be another login
    {
        without_keys "$ssh_dir/authorized_keys" "$ct"
        echo "$options $5 $6 migrator:$ct.$2"
    } > "$ssh_dir/.authorized_keys.migrator"
    replace_keys "$ssh_dir" "$user"
    echo "user $user"
}

without_keys() { # FILE CT   (grep ends with 1 when no line is left, with 2 when it could not read or write)
    [ ! -e "$1" ] || grep -v " migrator:$2\.[0-9]*\$" "$1" || [ "$?" = 1 ]
}

replace_keys() { # DIR USER
    [ ! -e "$1/authorized_keys" ] || {
        chown --reference="$1/authorized_keys" "$1/.authorized_keys.migrator"
        chmod --reference="$1/authorized_keys" "$1/.authorized_keys.migrator"
    }
    [ -e "$1/authorized_keys" ] || chown "$2" "$1/.authorized_keys.migrator"
    sync "$1/.authorized_keys.migrator"
    mv "$1/.authorized_keys.migrator" "$(readlink -f "$1/authorized_keys")"
}

# Takes them out of every file that was written down, and of this login's own: what was written down is gone after a boot.
revoke_keys() { # CT
    user=${SUDO_USER:-root}
    revoke_keys_in "$(getent passwd "$user" | cut -d: -f6)/.ssh/authorized_keys" "$1"
    for noted in "$RUN/keys/$1".[0-9]*.in; do
        [ -e "$noted" ] || continue
        read -r keys_file < "$noted" || continue
        revoke_keys_in "$keys_file" "$1"
    done
}

revoke_keys_in() { # FILE CT
    [ -e "$1" ] || return 0
    grep -q " migrator:$2\.[0-9]*\$" "$1" || return 0
    without_keys "$1" "$2" > "${1%/*}/.authorized_keys.migrator"
    replace_keys "${1%/*}" root
}

# What the forced command does first, under the lock, whatever it was asked: only the newest token's key does anything,
# and only in its time; and the connection is written down, so that it ends with the key.
enter() {
    lock
    read_record "$ct"
    session=$(session_of "$$")
    read -r ends_s 2> /dev/null < "$RUN/keys/$ct.$token.until" || ends_s=0
    if [ "$r_token" != "$token" ] || [ "$(date +%s)" -ge "$ends_s" ]; then
        unlock
        printf '%s\n' "this key has ended: container $ct is not received with token $token" >&2
        # Opened before the key was taken back, and silent until now.
        [ -z "$session" ] || kill -9 "$session"
        exit 10
    fi
    [ -z "$session" ] || note_process "$RUN/keys/$ct.$token.session-$session" "$session"
}
