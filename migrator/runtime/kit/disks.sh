# Disks: volumes of a container's own. Each is a directory below $CONTAINERS/CT/disks that the runtime binds in; it is made
# with its container, sent with it and removed with it. $CONTAINERS/CT/disk-list has a line "NAME INSIDE" for each.

has_disks() { [ -s "$CONTAINERS/$1/disk-list" ]; } # CT

# Also again: what is there is left as it is.
make_disks() { # CT
    read -r base < "$CONTAINERS/$1/id_base"
    mkdir -p -m 711 "$CONTAINERS/$1/disks"
    while read -r name inside; do
        check_name "$name"
        is_plain_path "$inside" || refuse "not a path for a volume: $inside"
        disk=$CONTAINERS/$1/disks/$name
        [ -d "$disk" ] || mkdir -m 755 "$disk"
        [ "$(stat -c %u "$disk")" != 0 ] || chown "$base:$base" "$disk" # nobody inside is the node's root
    done < "$CONTAINERS/$1/disk-list"
}

# Whether all of them are there; the first that is not is told. One that is gone is not made anew: it held something.
disks_there() { # CT
    has_disks "$1" || return 0
    while read -r name _; do
        if [ ! -d "$CONTAINERS/$1/disks/$name" ]; then
            printf 'volume %s: its files are gone from this node; put them back to %s\n' "$name" "$CONTAINERS/$1/disks/$name"
            return 1
        fi
    done < "$CONTAINERS/$1/disk-list"
}

# The directories that a container's own files are in.
files_of() { # CT
    echo "$CONTAINERS/$1/upper"
    ! has_disks "$1" || echo "$CONTAINERS/$1/disks"
}

# From a list of names, as they are inside but without their slash, to where these files are on the node.
in_place() { # CT
    places=
    ! has_disks "$1" ||
        places=$(sed "s|\\([^ ]*\\) /\\(.*\\)|\\2 \\1|; s|[.]|\\\\.|g; s|\\(.*\\) \\(.*\\)|s%^\\1/%$CONTAINERS/$1/disks/\\2/%;t|" "$CONTAINERS/$1/disk-list")
    sed -z -e "$places" -e "s|^|$CONTAINERS/$1/upper/|"
}

# --- the passes over them: beside those over the upper layer (files.sh) --------------------------------------------

send_disks() { # TREE LINKS
    module=disks
    send "$2" --delete "$1"
}

# One pass while the container runs.
pass_disks() {
    has_disks "$ct" || return 0
    in_jail "$move/jail" "$CONTAINERS/$ct/disks" send_disks /tree/ /links > "$move/disk-stats" || disk_code=$?
    module=files
}

# The last one, of a container that is fenced, beside the one over the upper layer; or behind it, where a move may not take
# all of a link.
begin_last_disks() {
    has_disks "$ct" || return 0
    # Nobody holds it back: what it is to find stands still.
    (via='' && send_disks "$CONTAINERS/$ct/disks/" "$RUN/links") > "$move/disk-stats" 6>&- 7>&- &
    disks=$!
}

await_last_disks() {
    has_disks "$ct" || return 0
    [ -n "$disks" ] || begin_last_disks
    wait "$disks" || disk_code=$?
}
