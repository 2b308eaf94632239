# Ranges of user ids: each container of a node has one of its own. One that comes with a range that is another's here gets a
# new one: its files come in through a mount that shows the new range as the old one, so that who sends them knows of
# nothing, and its user namespace is restored with the new one. $MOVE/shifted-from has the old one's first id.

# Under the node's lock, when a container's directory is made.
check_range() { # CT ID_BASE
    for other in "$CONTAINERS"/*/id_base; do
        [ -e "$other" ] && [ "$other" != "$CONTAINERS/$1/id_base" ] || continue
        read -r taken < "$other" || continue
        [ "$taken" != "$2" ] || { other=${other%/id_base}; refuse "container ${other##*/} has the range of user ids from $2 here"; }
    done
}

# The directory to receive into what is to be in TREE; prints it. Ids of the node's own root stay what they are: nobody else
# writes there.
receiving() { # CT TOKEN TREE
    move=$RUN/move/$1.$2
    if [ ! -e "$move/shifted-from" ]; then
        echo "$CONTAINERS/$1/$3"
        return 0
    fi
    (
        exec 5< "$move/shifted-from"
        flock 5
        if ! mountpoint -q "$move/in-$3" 2> /dev/null; then
            read -r from <&5
            read -r base < "$CONTAINERS/$1/id_base"
            mkdir -p "$move/in-$3"
            mount --bind -o "X-mount.idmap=b:0:0:1 b:$base:$from:65536" "$CONTAINERS/$1/$3" "$move/in-$3"
        fi
    ) && echo "$move/in-$3"
}

# What CRIU is told of the user namespace that it is to make, in place of what its source had: one extent, of all of the
# container's ids, for users and for groups. (images/userns.proto; an image is two words of magic, a length, and the message.)
shift_namespace() { # IMAGES CT
    read -r base < "$CONTAINERS/$2/id_base"
    for image in "$1"/userns-*.img; do
        extent=$(octal 8)$(varint 0)$(octal 16)$(varint "$base")$(octal 24)$(varint 65536)
        half=$((${#extent} / 4))
        {
            head -c 8 "$image"
            printf "$(octal $((2 * (half + 2))))\\000\\000\\000$(octal 10)$(octal "$half")$extent$(octal 18)$(octal "$half")$extent"
        } > "$1/.userns.new"
        chown --reference="$image" "$1/.userns.new"
        chmod --reference="$image" "$1/.userns.new"
        mv "$1/.userns.new" "$image"
    done
}

octal() { printf '\\%03o' "$1"; }

varint() { # NUMBER
    number=$1
    while [ "$number" -gt 127 ]; do
        octal $((number % 128 + 128))
        number=$((number / 128))
    done
    octal "$number"
}
