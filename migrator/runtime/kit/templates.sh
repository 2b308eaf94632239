# Verbs about templates: the read-only trees that containers stand on, /var/lib/migrator/templates/PLACE/{rootfs,digest,
# manifest}. What a push has brought so far lies in .push-DIGEST beside them, and outlives a cut; what a move brings, in
# .part-CT.TOKEN. A template is put into its place, and taken from it, by a rename under the node's lock.
#
# PLACE is the template's NAME, or NAME@ with the beginning of its digest where another version has that, or, where one
# has this too, as words that somebody has made up may begin alike, NAME@ with a hash of the whole: nothing that a
# container stands on is ever moved or replaced, and the container's file `template` names its PLACE. New containers are made
# from the version that was pushed last: .current.NAME names its place; without that file it is NAME.

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

# Sets `place` to where this very version is; 1 if it is not here, and `place` is then where it would not be in the way.
find_template() { # NAME DIGEST
    place=$1
    is_version "$2" && return 0
    version=$(printf '%s' "$2" | tr -cd a-z0-9 | cut -c -12)
    hash=$(printf '%s' "$2" | sha256sum | cut -c -12)
    place=$1@$hash
    is_version "$2" && return 0
    place=$1@${version:-0}
    is_version "$2" && return 0
    [ ! -e "$TEMPLATES/$place" ] || place=$1@$hash
    return 1
}

is_version() { # DIGEST   of what is at `place`
    found=
    [ ! -e "$TEMPLATES/$place/digest" ] || read -r found < "$TEMPLATES/$place/digest" || :
    [ -n "$found" ] && [ "$found" = "$1" ]
}

# Sets `place` to where the version for new containers is; it may be gone.
current_of() { # NAME
    place=$1
    [ ! -e "$TEMPLATES/.current.$1" ] || read -r place < "$TEMPLATES/.current.$1" || place=$1
}

# Under the lock.
make_current() { # NAME PLACE
    if [ "$2" = "$1" ]; then
        rm -f "$TEMPLATES/.current.$1"
    else
        echo "$2" > "$TEMPLATES/.current.$1.new"
        sync "$TEMPLATES/.current.$1.new"
        mv "$TEMPLATES/.current.$1.new" "$TEMPLATES/.current.$1"
    fi
    sync "$TEMPLATES"
}

# Puts a tree that is whole where nothing is, under the lock; sets `place`.
put_template() { # TREE NAME DIGEST
    find_template "$2" "$3" && return 0
    [ -e "$TEMPLATES/$2" ] || place=$2
    [ ! -e "$TEMPLATES/$place" ] || refuse "template $2: $TEMPLATES/$place on this node is another one; remove it first"
    mv -T "$1" "$TEMPLATES/$place"
    sync "$TEMPLATES"
}

# The names of containers that stand on a template, and of those that are coming to.
template_users() { # PLACE
    for file in "$CONTAINERS"/*/template; do
        [ -e "$file" ] || continue
        read -r on < "$file" || continue
        [ "$on" != "$1" ] || { file=${file%/template} && echo "${file##*/}"; }
    done
}

# Takes a manifest, and tells which contents this node lacks for it, or that it has the template, which may not be the one
# for new containers.
verb_template_offer() { # NAME DIGEST
    check_digest "$2"
    if find_template "$1" "$2"; then
        at=$place
        current_of "$1"
        [ "$place" = "$at" ] && echo 'present yes' || echo 'present older'
        return 0
    fi
    template_program offer "$TEMPLATES/.push-$2" "$TEMPLATES" || came_meanwhile "$?" "$@"
}

verb_template_take() { # NAME DIGEST
    check_digest "$2"
    [ -e "$TEMPLATES/.push-$2/manifest" ] || { came_meanwhile 11 "$@" && return 0; }
    template_program take "$TEMPLATES/.push-$2" || came_meanwhile "$?" "$@"
}

# Another push of the same may have been first, and taken away what this one was at. What still comes is let go by.
came_meanwhile() { # CODE NAME DIGEST
    find_template "$2" "$3" || {
        [ "$1" != 11 ] || echo "template $2 was not offered to this node" >&2
        exit "$1"
    }
    rm -rf "$TEMPLATES/.push-$3"
    echo 'present older' # template-make says which it is
    cat > /dev/null
}

# One at a time: makes the tree of what has come, puts it into its place, and has new containers made from it.
verb_template_make() { # NAME DIGEST
    check_digest "$2"
    part=$TEMPLATES/.push-$2
    exec 6< "$TEMPLATES"
    flock -w 1700 6 || fail 12 "this node is making another template; push $1 again when that has ended"
    if ! find_template "$1" "$2"; then
        [ -e "$part/manifest" ] || fail 11 "template $1 was not offered to this node"
        template_program make "$part"
        sync -f "$part"
    fi
    lock
    put_template "$part/template" "$1" "$2"
    at=$place
    current_of "$1"
    [ "$place" = "$at" ] || make_current "$1" "$at"
    unlock
    rm -rf "$part"
}

# What is here of each template, whether new containers are made from it, who stands on it, and what cut pushes have left.
verb_template_list() {
    for template in "$TEMPLATES"/*/; do
        [ -e "$template/digest" ] || continue
        at=${template%/} && at=${at##*/}
        kept=no current=no
        ! mountpoint -q "$template" || kept=yes
        current_of "${at%%@*}"
        [ "$place" != "$at" ] || current=yes
        echo "template $at $(head -n 1 "$template/digest") $kept $current $(template_users "$at" | tr '\n' ',')"
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

verb_template_remove() { # PLACE
    lock
    [ -d "$TEMPLATES/$1" ] || return 0
    users=$(template_users "$1" | tr '\n' ' ')
    [ -z "$users" ] || refuse "template $1 is what these stand on here: $(first_of ${users% })"
    ! mountpoint -q "$TEMPLATES/$1" || refuse "template $1 is mounted here, and was not put here by us"
    mv -T "$TEMPLATES/$1" "$TEMPLATES/.gone.$1.$$"
    any_is_there "$TEMPLATES/${1%%@*}" "$TEMPLATES/${1%%@*}"@* || rm -f "$TEMPLATES/.current.${1%%@*}"
    sync "$TEMPLATES"
    unlock
    rm -rf --one-file-system "$TEMPLATES/.gone.$1.$$"
}

first_of() { # NAME...
    [ $# -gt 5 ] || { echo "$*"; return 0; }
    echo "$1 $2 $3 $4 $5 and $(($# - 5)) more"
}

verb_template_sweep() {
    leftovers | while read -r left; do
        rm -rf --one-file-system "$left"
    done
}
