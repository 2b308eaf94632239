# Which machine a container is: its machine-id, its sshd's host keys, and what its /etc/hosts calls it.
#
# Many containers stand on one template, so none may go by what lies in it. One that is made (it has the file `fresh`) gets
# its own before its first start; a clone gets new ones in place of its source's. All is written to the upper layer, through
# the mounted root. A running container's root can put a link anywhere in it at any moment: no link is followed, and what is
# entered is a directory by its real path.

HOSTS_OURS='# By Migrator, which keeps these lines true as long as this one is here:'
HOSTS_END='# (end)'
HOSTS_BYTES_MAX=1000000

is_fresh() { [ -e "$CONTAINERS/$1/fresh" ]; } # CT

# The keys of one that was never started, before the node's lock is held: one by RSA takes seconds.
make_first_keys() {
    for part in "$CONTAINERS/$ct"/.keys.*; do # of one that was killed
        [ ! -d "$part" ] || [ -e "/proc/${part##*.}" ] || rm -rf "$part"
    done
    keys=$CONTAINERS/$ct/.keys.$$
    rm -rf "$keys" # another's, whose number this is now
    read -r template < "$CONTAINERS/$ct/template"
    # shellcheck disable=SC2046
    make_host_keys "$keys" $(first_kinds "$DISK/templates/$template/rootfs")
}

# Nothing where there is no sshd. RSA, which few still ask for, only where its configuration names it.
first_kinds() { # ROOT
    [ -d "$1/etc/ssh" ] || return 0
    any_is_there "$1/etc/ssh/sshd_config" "$1"/etc/ssh/ssh_host_*_key "$1/usr/sbin/sshd" || return 0
    echo ed25519 ecdsa
    ! grep -qsi '^[[:space:]]*HostKey[[:space:]].*ssh_host_rsa_key' "$1/etc/ssh/sshd_config" "$1"/etc/ssh/sshd_config.d/*.conf ||
        echo rsa
}

# By the node's own ssh-keygen; a kind that it does not make is left out.
make_host_keys() { # DIRECTORY [KIND...]
    made=$1
    shift
    [ $# -gt 0 ] || return 0
    mkdir -m 700 "$made" || return 1
    for kind; do
        ssh-keygen -q -t "$kind" -N '' -C "root@$(hostname_of "$ct")" -f "$made/$kind" < /dev/null > /dev/null 2>&1 || :
    done
}

# In place of all that are there, in the directory that was entered.
put_host_keys() { # DIRECTORY
    rm -f -- ssh_host_* 2> /dev/null || :
    for key in "$1"/*.pub; do
        [ -e "$key" ] || continue
        kind=${key##*/} && kind=${kind%.pub}
        put_own "ssh_host_${kind}_key" 600 < "${key%.pub}" && put_own "ssh_host_${kind}_key.pub" 644 < "$key" || return 1
        echo "renewed /etc/ssh/ssh_host_${kind}_key"
    done
}

# All that a start has to do and nobody sees: whoever makes a container asks for it while others still answer whether its
# address is free. A start does again what of it is not there any more.
verb_ct_ready() { # CT CREATOR
    ct=$1
    ! is_fresh "$ct" || make_first_keys
    lock
    read_record "$ct"
    is_creator "$2" || refuse "container $ct here was made by somebody else"
    [ "$r_state" = stopped ] && ! has_processes "$ct" || return 0 # somebody has started it
    check_whole "$ct"
    check_not_cloned "$ct"
    stand_ready
    : > "$RUN/ready.$ct"
}

# Whether that was done in this boot, and nothing is said of the container since that it goes by.
is_ready() { # CT
    [ "$RUN/ready.$1" -nt "$CONTAINERS/$1/config.json" ] && [ "$RUN/ready.$1" -nt "$CONTAINERS/$1/net" ]
}

# Its volumes, its root, and which machine it is.
stand_ready() { # (ct is set, and the lock is held)
    fault=$(volumes_there "$ct") || fail 12 "container $ct is not started: $fault"
    ! is_ready "$ct" || return 0
    mount_root "$ct"
    identify "$ct" > /dev/null || {
        unmount_root "$ct"
        fail 1 "container $ct is not started: its name and host keys cannot be written; is the node's disk full?"
    }
}

# What is to be done before a start, with the root mounted. What a stopped one was named meanwhile is written, too.
identify() { # CT
    ct=$1
    read -r base < "$CONTAINERS/$ct/id_base" && read_net "$ct" || return 1
    root=$(realpath "$CONTAINERS/$ct/rootfs")
    if ! is_fresh "$ct"; then
        (! go_into "$root/etc" || { name_hosts ours "$(hostname_of "$ct")" && rename_own "$(hostname_of "$ct")"; }) ||
            : # which is no reason to let it lie
        return 0
    fi
    renew_machine_id && (! go_into "$root/etc" || name_hosts first "$(hostname_of "$ct")") &&
        (! go_into "$root/etc" || name_file "$(hostname_of "$ct")") &&
        (! go_into "$root/etc/ssh" || put_host_keys "$CONTAINERS/$ct/.keys.$$") || return 1
    rm -rf "$CONTAINERS/$ct/.keys.$$"
    rm -f "$CONTAINERS/$ct/fresh"
}

# In a clone, on which nothing runs yet; what is not there is not made. Of host keys those kinds that were there.
renew_identity() {
    mount_root "$ct" && read_net "$ct" || return 1
    root=$(realpath "$CONTAINERS/$ct/rootfs")
    renew_machine_id && (! go_into "$root/etc" || name_hosts ours "$(hostname_of "$ct")") &&
        (! go_into "$root/etc" || name_file "$(hostname_of "$ct")" "$(hostname_of "$source")") &&
        (! go_into "$root/etc/ssh" || renew_host_keys) || return 1
    unmount_root "$ct"
}

# One that is empty, or says that it is yet to be made, is its init's to make.
renew_machine_id() {
    machine=$(tr -d - < /proc/sys/kernel/random/uuid)
    for file in etc/machine-id var/lib/dbus/machine-id; do
        (
            go_into "$root/${file%/*}" && [ ! -h machine-id ] && [ -f machine-id ] && [ -s machine-id ] || exit 0
            ! grep -qx uninitialized machine-id || exit 0
            put_own machine-id 444 << END
$machine
END
            echo "renewed /$file"
        ) || return 1
    done
}

renew_host_keys() {
    kinds=
    for key in ssh_host_*_key; do
        [ -f "$key" ] && [ ! -h "$key" ] || continue
        case $key in
            ssh_host_rsa_key | ssh_host_ecdsa_key | ssh_host_ed25519_key) key=${key#ssh_host_} kinds="$kinds ${key%_key}" ;;
        esac
    done
    keys=$RUN/.keys.$$
    rm -rf "$keys"
    # shellcheck disable=SC2086
    make_host_keys "$keys" $kinds && put_host_keys "$keys" && code=0 || code=1
    rm -rf "$keys"
    return "$code"
}

go_into() { # DIRECTORY   without a link on the way
    cd -P "$1" 2> /dev/null && [ "$(pwd -P)" = "$1" ]
}

# In place of whatever has the name; content on stdin. As the container's root: one that runs may put a link in the place of
# what was just made, and so no more is written through it than that root may write itself.
put_own() { # NAME MODE
    setpriv --reuid "$base" --regid "$base" --clear-groups sh -c '
        part=$(mktemp ./.migrator-XXXXXXXX) || exit 1
        cat > "$part" && chmod "$2" "$part" && mv -T "$part" "$1" && exit 0
        rm -f "$part"
        exit 1' sh "$1" "$2"
}

hostname_of() { sed -n 's/.*"hostname": "\([A-Za-z0-9.-]*\)", "root".*/\1/p' "$CONTAINERS/$1/config.json"; } # CT

# --- /etc/hosts -----------------------------------------------------------------------------------------------------------

# In the directory that was entered, with the container's network read. `first` adds our lines, `ours` writes them anew where
# they are: localhost and its own name, as far as no other line there has them.
name_hosts() { # first|ours HOSTNAME
    if [ -h hosts ] || { [ -e hosts ] && [ ! -f hosts ]; }; then
        return 0
    fi
    had=
    if [ -e hosts ]; then
        had=$(dd if=hosts iflag=nofollow,nonblock bs=64k count=16 status=none && echo .) || return 0
        had=${had%.}
        [ "${#had}" -lt "$HOSTS_BYTES_MAX" ] || return 0
    fi
    if [ "$1" = ours ]; then
        case $had in
            *"$HOSTS_OURS"*"$HOSTS_END"*) ;;
            *) return 0 ;;
        esac
    fi
    now=$(printf '%s' "$had" | hosts_with "$2" "$n_addresses" && echo .) || return 1
    now=${now%.}
    [ "$now" != "$had" ] || return 0
    printf '%s' "$now" | put_own hosts 644 && echo 'renewed /etc/hosts'
}

hosts_with() { # HOSTNAME ADDRESSES
    awk -v ours="$HOSTS_OURS" -v end="$HOSTS_END" -v name="$1" -v addresses="$2" '
        $0 == ours { inside = 1 }
        !inside {
            print
            sub(/#.*/, "")
            for (i = 2; i <= NF; i++) {
                if ($i == "localhost") { if ($1 ~ /^127\./) v4 = 1; if ($1 == "::1") v6 = 1 }
                if ($i == name) own = 1
            }
        }
        $0 == end { inside = 0 }
        END {
            if (!v4) lines = "127.0.0.1 localhost\n"
            if (!v6) lines = lines "::1 localhost ip6-localhost ip6-loopback\n"
            short = name
            sub(/\..*/, "", short)
            count = own ? 0 : split(addresses, of, " ")
            for (i = 1; i <= count; i++) {
                sub(/\/.*/, "", of[i])
                lines = lines of[i] " " name (short != name ? " " short : "") "\n"
            }
            if (lines) printf "%s\n%s%s\n", ours, lines, end
        }'
}

# --- /etc/hostname --------------------------------------------------------------------------------------------------------

# In the directory that was entered. Programs take what it says for the name that is to be (hostnamectl). Where there is no
# such file none is made; with WAS one that says something else is left alone: somebody inside has chosen it.
name_file() { # HOSTNAME [WAS]
    if [ -h hostname ] || [ ! -f hostname ]; then
        return 0
    fi
    said=$(dd if=hostname iflag=nofollow,nonblock bs=256 count=1 status=none) || return 0
    if [ "$said" = "$1" ] || { [ "$#" = 2 ] && [ "$said" != "$2" ]; }; then
        return 0
    fi
    printf '%s\n' "$1" | put_own hostname 644 && echo 'renewed /etc/hostname'
}

# It is written inside when it runs, or starts: until then what it was called before is kept.
note_name() { # CT HOSTNAME
    was_named=$(hostname_of "$1")
    [ "$was_named" = "$2" ] || [ -e "$CONTAINERS/$1/renamed-from" ] || printf '%s' "$was_named" > "$CONTAINERS/$1/renamed-from"
}

rename_own() { # HOSTNAME
    [ -e "$CONTAINERS/$ct/renamed-from" ] || return 0
    name_file "$1" "$(cat "$CONTAINERS/$ct/renamed-from")" && rm -f "$CONTAINERS/$ct/renamed-from"
}

# After its name was changed while it runs.
follow_hosts() { # HOSTNAME
    read -r base < "$CONTAINERS/$ct/id_base" && read_net "$ct" || return 0
    root=$(realpath "$CONTAINERS/$ct/rootfs")
    (! go_into "$root/etc" || { name_hosts ours "$1" && rename_own "$1"; }) > /dev/null 2>&1 || :
}
