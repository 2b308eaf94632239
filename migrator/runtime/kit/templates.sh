# Verbs about templates: the read-only trees that containers stand on, /var/lib/migrator/templates/NAME/{rootfs,digest,
# manifest}. What a push has brought so far lies in .push-DIGEST beside them, and outlives a cut; what a move brings, in
# .part-CT.TOKEN. A template is put into its place, and taken from it, by a rename under the node's lock.

TEMPLATES=$DISK/templates

check_digest() {
    case $1 in
        '' | *[!0-9a-f]*) refuse "not a template's digest: $1" ;;
    esac
    [ "${#1}" = 64 ] || refuse "not a template's digest: $1"
}

template_program() { # WORDS...
    command -v python3 > /dev/null || fail 12 'templates need python3 on this node, which has none; install it'
    python3 -ESsB "$KIT/template.py" "$@"
}

# Whether this very template is here. Another one of its name is refused.
has_template() { # NAME DIGEST
    [ -d "$TEMPLATES/$1" ] || return 1
    digest=
    [ ! -e "$TEMPLATES/$1/digest" ] || read -r digest < "$TEMPLATES/$1/digest" || :
    [ "$digest" = "$2" ] || refuse "template $1 on this node is another one (digest $digest); remove it first"
}

# The names of containers that stand on a template, and of those that are coming to.
template_users() { # NAME
    for file in "$CONTAINERS"/*/template; do
        [ -e "$file" ] || continue
        read -r on < "$file" || continue
        [ "$on" != "$1" ] || { file=${file%/template} && echo "${file##*/}"; }
    done
}

# Takes a manifest, and tells which contents this node lacks for it.
verb_template_offer() { # NAME DIGEST
    check_digest "$2"
    ! has_template "$1" "$2" || { echo 'present yes'; return 0; }
    template_program offer "$TEMPLATES/.push-$2" "$TEMPLATES"
}

verb_template_take() { # NAME DIGEST
    check_digest "$2"
    [ -e "$TEMPLATES/.push-$2/manifest" ] || fail 11 "template $1 was not offered to this node"
    template_program take "$TEMPLATES/.push-$2"
}

# Makes the tree of what has come, and puts it into its place.
verb_template_make() { # NAME DIGEST
    check_digest "$2"
    ! has_template "$1" "$2" || return 0
    part=$TEMPLATES/.push-$2
    [ -e "$part/manifest" ] || fail 11 "template $1 was not offered to this node"
    template_program make "$part"
    sync -f "$part"
    lock
    if ! has_template "$1" "$2"; then
        mv -T "$part/template" "$TEMPLATES/$1"
        sync "$TEMPLATES"
    fi
    unlock
    rm -rf "$part"
}

# What is here of each template, who stands on it, and what cut pushes have left.
verb_template_list() {
    for template in "$TEMPLATES"/*/; do
        [ -e "$template/digest" ] || continue
        name=${template%/} && name=${name##*/}
        kept=no
        ! mountpoint -q "$template" || kept=yes
        echo "template $name $(head -n 1 "$template/digest") $kept $(template_users "$name" | tr '\n' ',')"
    done
    leftovers | while read -r left; do
        echo "leftover $(du -sk "$left" | awk '{ printf "%.0f", $1 * 1024 }') ${left##*/}"
    done
}

# What no push and no move is at work on.
leftovers() {
    for left in "$TEMPLATES"/.push-* "$TEMPLATES"/.gone.*; do
        [ -d "$left" ] || continue
        [ ! -e "$left/lock" ] || flock -n "$left/lock" true || continue
        echo "$left"
    done
    for left in "$TEMPLATES"/.part-*; do
        [ -d "$left" ] || continue
        move=${left##*/.part-} && move=${move%.came}
        [ -d "$RUN/move/$move" ] || echo "$left"
    done
}

verb_template_remove() { # NAME
    lock
    [ -d "$TEMPLATES/$1" ] || return 0
    users=$(template_users "$1" | head -n 5 | tr '\n' ' ')
    [ -z "$users" ] || refuse "template $1 is what these stand on here: ${users% }"
    ! mountpoint -q "$TEMPLATES/$1" || refuse "template $1 is mounted here, and was not put here by us"
    mv -T "$TEMPLATES/$1" "$TEMPLATES/.gone.$1.$$"
    sync "$TEMPLATES"
    unlock
    rm -rf --one-file-system "$TEMPLATES/.gone.$1.$$"
}

verb_template_sweep() {
    leftovers | while read -r left; do
        rm -rf --one-file-system "$left"
    done
}
