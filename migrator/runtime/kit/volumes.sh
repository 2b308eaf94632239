# Volumes: directories on storage that nodes share, bound into containers by the runtime. Nothing here copies, owns or
# removes anything on them but markers. $CONTAINERS/CT/volumes has a line "NAME PATH INSIDE" for each.

# Storage that is away lets whoever asks wait for ever; KILL is the one signal that ends such a wait.
VOLUME_WAIT_S=5
at_most() { timeout -s KILL "$VOLUME_WAIT_S" "$@"; }

is_plain_path() {
    case $1 in
        *[!A-Za-z0-9._/@+=-]* | */ | *//* | */./* | */../* | */. | */..) return 1 ;;
        /*) ;;
        *) return 1 ;;
    esac
}

# Why a volume's directory is not there, in words; nothing if it is. A way that leads over a link may lead elsewhere
# tomorrow. And what stands on the node's own root is, as a rule, the bare mount point of storage that is not mounted.
LOOK='real=$(realpath -e -- "$1") || { echo "$1 is not there; mount its storage"; exit 0; }
[ "$real" = "$1" ] || { echo "$1 leads over a link to $real, which the cluster file is to name"; exit 0; }
[ -d "$1" ] || { echo "$1 is not a directory; have the cluster file name one"; exit 0; }
[ "$(findmnt -n -o TARGET -T "$1" | tail -n 1)" != / ] || { echo "nothing is mounted at $1, or above it; mount its storage"; exit 0; }
echo yes'
volume_fault() { # PATH
    is_plain_path "$1" || { echo 'its path is none'; return 0; }
    case $1/ in
        "$DISK"/* | "$RUN"/*) echo "$1 is Migrator's own"; return 0 ;;
    esac
    said=$(at_most sh -c "$LOOK" sh "$1" 2> /dev/null) || said="the storage at $1 does not answer; see to it, or unmount it"
    [ "$said" = yes ] || printf '%s\n' "$said" | cut -c 1-200
}

# As the node's root; and, where storage takes that for nobody (root_squash), as the container's own.
as_either() { # ID_BASE COMMAND...
    id=$1
    shift
    "$@" 2> /dev/null || setpriv --reuid "$id" --regid "$id" --clear-groups "$@" 2> /dev/null
}

# Whether all volumes of a container are there; the first that is not is told.
volumes_there() { # CT
    disks_there "$1" || return 1
    [ -e "$CONTAINERS/$1/volumes" ] || return 0
    while read -r name path _; do
        fault=$(volume_fault "$path")
        if [ -n "$fault" ]; then
            printf 'volume %s: %s\n' "$name" "$fault"
            return 1
        fi
    done < "$CONTAINERS/$1/volumes"
}

# What is written there is on its way from a cache of this node for a while; another node sees it when it has come.
flush_volumes() { # CT
    [ -e "$CONTAINERS/$1/volumes" ] || return 0
    read -r base < "$CONTAINERS/$1/id_base"
    while read -r _ path _; do
        as_either "$base" sync -f "$path" || return 1
    done < "$CONTAINERS/$1/volumes"
}

# A sed command for each volume, that deletes the names of files on it from a list without leading slashes.
drop_volumes() { # CT
    sed 's|^[^ ]* [^ ]* /||; s|[.]|\\.|g; s|.*|\\%^&/%d|' "$CONTAINERS/$1/volumes"
}

# Where a volume of a container's is to be, nothing may lead elsewhere in its template: CRIU knows a mount by where it is.
check_inside() { # PLACE_OF_TEMPLATE INSIDE...
    root=$DISK/templates/$1/rootfs
    shift
    for inside in "$@"; do
        is_plain_path "$inside" || refuse "not a path for a volume: $inside"
        way=$inside/ walked=
        while [ -n "$way" ]; do
            way=${way#/} walked=$walked/${way%%/*} way=${way#*/}
            [ -n "${walked##*/}" ] || break
            [ ! -h "$root$walked" ] || refuse "$walked is a link in the template; choose another path for a volume"
            [ ! -e "$root$walked" ] || [ -d "$root$walked" ] || refuse "$walked is a file in the template; choose another path for a volume"
        done
    done
}

# --- the marker ----------------------------------------------------------------------------------------------------

# Done in the directory itself, by names without a slash, so that no way is walked twice. The name is new to everybody. What
# an earlier move, which died, has left is removed after a while.
ON_VOLUME='cd -P -- "$2" && [ "$(pwd -P)" = "$2" ] || exit 1
mark=.migrator-mark-$3
umask 022
case $1 in
    write)
        [ -f "$mark" ] && [ ! -h "$mark" ] || echo "$3" | dd of="$mark" conv=excl,fsync oflag=nofollow || exit 1
        timeout -s KILL 2 find . -maxdepth 1 -type f -name ".migrator-mark-*" -mmin +60 -delete || : ;;
    read) [ -e "$mark" ] || exit 0; dd if="$mark" iflag=nofollow,nonblock bs=100 count=1 ;;
    remove) rm -f -- "$mark" ;;
esac'

on_volume() { # write|read|remove PATH WORD ID_BASE
    as_either "$4" timeout -s KILL "$VOLUME_WAIT_S" sh -c "$ON_VOLUME" sh "$1" "$2" "$3"
}

# Where a container has a volume by this name: v_path on the node, v_inside in it.
find_volume() { # CT NAME
    v_path='' v_inside=''
    [ -e "$CONTAINERS/$1/volumes" ] || fail 11 "container $1 has no volume here"
    while read -r name path inside; do
        [ "$name" != "$2" ] || v_path=$path v_inside=$inside
    done < "$CONTAINERS/$1/volumes"
    [ -n "$v_path" ] || fail 11 "container $1 has no volume $2 here"
    read -r base < "$CONTAINERS/$1/id_base"
}

# Writes a marker into a container's volume. What the container sees has to be what stands at the path now: it may have been
# mounted, or another storage in its place, since the container began.
verb_mark_volume() { # CT NAME WORD
    check_word "$3"
    find_volume "$1" "$2"
    echo "path $v_path"
    fault=$(volume_fault "$v_path")
    if [ -z "$fault" ] && has_processes "$1" && ! sees_volume "$(init_pid "$1")"; then
        fault="what container $1 has at $v_inside is not what is at $v_path now; stop it and start it again"
    fi
    if [ -z "$fault" ] && ! on_volume write "$v_path" "$3" "$base"; then
        fault="no marker can be written to $v_path, neither by root nor by id $base, the container's root; let one of them write there"
    fi
    [ -z "$fault" ] || echo "fault $fault"
}

sees_volume() { # PID   (find_volume before)
    awk -v at="$v_inside" '$5 == at { found = 1 } END { exit !found }' "/proc/$1/mountinfo" || return 1
    at_most stat -c %d:%i "/proc/$1/root$v_inside" "$v_path" 2> /dev/null |
        awk 'NR == 1 { seen = $0 } NR == 2 { same = $0 == seen } END { exit !same }'
}

verb_unmark_volume() { # CT NAME WORD
    check_word "$3"
    find_volume "$1" "$2"
    on_volume remove "$v_path" "$3" "$base" || fail 1 "the marker $3 cannot be removed from $v_path"
}

# What a target finds at its own path of a volume.
verb_see_mark() { # PATH ID_BASE WORD
    check_number "$2"
    check_word "$3"
    fault=$(volume_fault "$1")
    [ -z "$fault" ] || echo "fault $fault"
    [ -n "$fault" ] || echo "mark $(on_volume read "$1" "$3" "$2" | tr -cd 'a-z0-9')"
}
