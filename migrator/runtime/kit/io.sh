# What a container may read from and write to the block device under its files: found anew on each node, and held in the
# container's group by the kernel. The limits are in the file `io` beside its bundle: bytes a second read and written,
# operations a second read and written, with commas between them; 0 is without a limit, and no file none at all.

# The whole disk under a directory as MAJ:MIN; fails where that is no block device. Partitions are not limited by
# themselves. Btrfs shows a number that is no device's, and is asked for where it was mounted from.
disk_under() { # DIRECTORY
    number=$(stat -c %d "$1")
    major=$((number >> 8 & 4095)) minor=$((number & 255 | number >> 12 & 1048320))
    if [ "$major" = 0 ]; then
        from=$(findmnt -n -o SOURCE -T "$1") || return 1
        from=${from%%\[*}
        [ -b "$from" ] || return 1
        number=$(stat -L -c '%t %T' "$from")
        major=$((0x${number% *})) minor=$((0x${number#* }))
    fi
    disk=$major:$minor
    [ ! -e "/sys/dev/block/$disk/partition" ] || read -r disk < "/sys/dev/block/$disk/../dev" || return 1
    [ -e "/sys/dev/block/$disk" ] && echo "$disk"
}

can_limit_io() {
    any_is_there "$CGROUP"/*/io.max "$CGROUP"/*/*/io.max "$CGROUP/blkio/blkio.throttle.read_bps_device" &&
        disk_under "$CONTAINERS" > /dev/null
}

check_io() { # R,W,RI,WI
    case $1 in
        *[!0-9,]*) refuse "not limits of a disk: $1" ;;
        *,*,*,*,*) refuse "not limits of a disk: $1" ;;
        *?,*?,*?,*?) ;;
        *) refuse "not limits of a disk: $1" ;;
    esac
}

# In the group that the container has, where the kernel has files for it; what the kernel does not take is told.
hold_io() { # CT R,W,RI,WI
    set -- "$1" "${2%%,*}" "${2#*,}"
    set -- "$1" "$2" "${3%%,*}" "${3#*,}"
    set -- "$1" "$2" "$3" "${4%%,*}" "${4#*,}"
    one=$CGROUP/blkio/ct/$1 two=$TREE/ct/$1/io.max
    [ -e "$two" ] || [ -e "$one/blkio.throttle.read_bps_device" ] || return 0
    disk=$(disk_under "$CONTAINERS/$1") || { echo "the files of $1 are on no block device"; return 1; }
    if [ -e "$two" ]; then
        put_io "$two" "$disk rbps=$(max_of "$2") wbps=$(max_of "$3") riops=$(max_of "$4") wiops=$(max_of "$5")"
    else
        put_io "$one/blkio.throttle.read_bps_device" "$disk $2" &&
            put_io "$one/blkio.throttle.write_bps_device" "$disk $3" &&
            put_io "$one/blkio.throttle.read_iops_device" "$disk $4" &&
            put_io "$one/blkio.throttle.write_iops_device" "$disk $5"
    fi
}

max_of() { [ "$1" = 0 ] && echo max || echo "$1"; } # NUMBER

put_io() { # FILE LINE
    printf '%s' "$2" 2> /dev/null > "$1" || {
        echo "the kernel does not take $2 for ${1##*/}"
        return 1
    }
}
