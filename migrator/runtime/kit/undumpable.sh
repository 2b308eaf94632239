# What of a running container CRIU cannot dump, or would lose: looked for in what the kernel tells of its processes, for
# the check, in one quick pass that changes nothing. Each entry is there because an attempt has failed.
#
# A line each: cannot WHAT PID COMM DETAIL, with the process as it is called inside. And what its root has made in its
# network, of which some is not carried; the rest as it will be, for a target to try.

GHOST_BYTES_MAX=33554432

verb_obstacles() { # CT
    has_processes "$1" || return 0
    read_net "$1"
    init=$(init_pid "$1")
    own=$({ own_network "$init"; in_network "$init" sh "$KIT/lost"; } | cut -c 1-200 | sed 's/^/own /')
    [ -z "$own" ] || printf '%s\n' "$own"
    case $own in
        *'own nft table '*) rules=$(look_at_rules "$init") ;;
        *) rules= ;;
    esac
    [ -z "$rules" ] || printf '%s\n' "$rules"
    case "$own $rules" in
        *'own lost '* | *'own link '*) ;; # then nobody is asked whether it takes the rest
        *) carry_out "$1" "$init" ;;
    esac
    scratch=$RUN/.look.$$
    trap 'rm -f "$scratch"*' EXIT
    processes "$1" > "$scratch"
    { undumpable "$scratch"; locks_on_volumes "$1" "$scratch.fds"; } | sort -u | head -n 200 | while read -r what pid rest; do
        inner=$(awk -v pid="$pid" '$1 == pid { print $2 }' "$scratch")
        comm=$(tr -cd 'A-Za-z0-9._-' < "/proc/$pid/comm" 2> /dev/null) || :
        printf 'cannot %s %s %s %s\n' "$what" "${inner:-1}" "${comm:--}" "$(printf %s "${rest:--}" | tr -cd '[:print:]' | cut -c 1-200)"
    done
}

# As the node sees processes: WHAT PID DETAIL.
undumpable() { # FILE   (PID INNER lines)
    init=$(awk '$2 == 1 { print $1 }' "$1")
    [ -n "$init" ] || return 0
    fds=$1.fds
    while read -r pid _; do
        echo "/proc/$pid"
    done < "$1" > "$1.dirs"
    descriptors < "$1.dirs" > "$fds"
    unlike_init "$init" "$1"
    awk '/ anon_inode:/ && !/ anon_inode:(\[(eventfd|eventpoll|signalfd|timerfd|fanotify|pidfd|inotify|bpf-map|aio)\]|inotify)/ {
            split($1, at, "/"); sub(/^[^:]*:/, ""); gsub(/[][]/, ""); print "handle", at[3], $0 }' "$fds"
    packet_pipes < "$fds"
    awk '$2 ~ /^\/dev\/(fuse|net\/tun)$/ { split($1, at, "/"); print "device", at[3], $2 }' "$fds"
    awk -v init="$init" '/ - fuse[.a-z]* / { print "mount", init, $5 }' "/proc/$init/mountinfo"
    lost_epolls "$1"
    removed_files "$1" < "$fds"
    special_maps "$1"
    lost_watches "$init" < "$fds"
    locks_on_mapped "$1"
    awk '$2 ~ /^\/sys\/fs\/cgroup\/.*\/?[a-z]+\.pressure$/ { split($1, at, "/"); print "pressure", at[3], $2 }' "$fds"
    find "/proc/$init/root/dev/mqueue/" -mindepth 1 -maxdepth 1 -printf "queue $init /dev/mqueue/%f\n" 2> /dev/null || :
    sockets "$init" < "$fds"
    memberships "$init"
}

# What each descriptor of processes is: "/proc/PID/fd/N LINK" lines, for /proc/PID lines.
descriptors() {
    sed 's|$|/fd|' | xargs -r sh -c 'exec find "$@" -maxdepth 1 -type l -printf "%p %l\n"' sh 2> /dev/null || :
}

# Processes that do not belong where the first one is: traced, in namespaces of their own, put in from outside.
unlike_init() { # INIT FILE
    sed 's|$|/status|' "$2.dirs" | xargs awk -v init="$1" '
        FNR == 1 { split(FILENAME, at, "/"); pid = at[3]; here[pid] = 1 }
        $1 == "Name:" && $2 == "(sd-pam)" { print "manager", pid }
        $1 == "State:" { state = $2 }
        $1 == "PPid:" { parent[pid] = $2 }
        $1 == "TracerPid:" && $2 != 0 { print "traced", pid }
        $1 == "Threads:" && $2 > 1 && state == "Z" { print "headless", pid }
        END { for (pid in parent) if (pid != init && !(parent[pid] in here)) print "outsider", pid }' 2> /dev/null || :
    # Of the others, mount and network, CRIU carries more than one.
    sed 's|.*|&/ns/user &/ns/uts &/ns/ipc &/ns/pid &/ns/cgroup|' "$2.dirs" |
        xargs sh -c 'exec find "$@" -maxdepth 0 -printf "%p %l\n"' sh 2> /dev/null |
        awk -v init="$1" '{ split($1, at, "/"); of[at[3], at[5]] = $2 }
            END { for (key in of) { split(key, at, SUBSEP)
                if (of[key] != of[init, at[2]] && of[key] != "") print "nested", at[1], at[2] } }' || :
}

# O_DIRECT is one bit or the other by the kind of machine, and the other one never stands on a pipe.
packet_pipes() {
    awk '/ pipe:\[/ { sub("/fd/", "/fdinfo/", $1); print $1 }' | xargs -r grep -H '^flags:' 2> /dev/null |
        while IFS='/:' read -r _ _ pid _ _ _ flags; do
            [ $((0${flags##*[!0-7]} & 0240000)) = 0 ] || echo "packets $pid"
        done
}

# What an epoll waits for after whoever has the epoll has closed it: only another process holds it, and CRIU finds nothing.
# An epoll may be shared: it is enough that one of those who have it has what it waits for. Pipes and sockets are told apart
# by their inodes, other things not.
lost_epolls() { # FILE
    awk '/ anon_inode:\[eventpoll\]/ { sub("/fd/", "/fdinfo/", $1); print $1 }' "$1.fds" |
        xargs -r grep -H '^tfd:' 2> /dev/null |
        sed -n 's|^/proc/\([0-9]*\)/.*:tfd: *\([0-9]*\) .* ino:\([0-9a-f]*\) .*|\1 \2 \3|p' | while read -r pid fd inode; do
            echo "$pid $fd.$((0x$inode)) $((0x$inode))"
        done | awk '
            NR == FNR { if (/ (pipe|socket):\[/) { split($1, at, "/"); gsub(/[^0-9]/, "", $2); has[at[3], $2] = known[$2] = 1 }; next }
            $3 in known { waits[$2] = $1; if (($1, $3) in has) found[$2] = 1 }
            END { for (what in waits) if (!(what in found)) print "epoll", waits[what] }' "$1.fds" -
}

# Files without a name: CRIU takes those along that have none at all, up to a limit, and none that another name or the
# template still holds. A file may also be called "x (deleted)": what it is, is asked of the file itself.
removed_files() { # FILE
    {
        grep ' /.* (deleted)$' || :
        sed 's|$|/maps|' "$1.dirs" | xargs grep -H ' (deleted)$' 2> /dev/null |
            sed -n 's|^\(/proc/[0-9]*\)/maps:\([0-9a-f-]*\) [^/]*\(/.*\)$|\1/map_files/\2 \3|p' | sort -u -k 2
    } | awk '$2 !~ /^\/(dev\/zero|SYSV|\[aio\]|memfd:|secretmem|anon_hugepage|i915)/ || /map_files.*\/memfd:/' |
        while read -r link path; do
            seen=$(stat -L -c '%F:%h:%b:%B' "$link" 2> /dev/null) || continue
            pid=${link#/proc/} pid=${pid%%/*} path=${path% (deleted)}
            case $seen in
                regular*:0:*)
                    size=${seen#*:0:}
                    case $path in /memfd:*) continue ;; esac
                    [ $((${size%:*} * ${size#*:})) -le "$GHOST_BYTES_MAX" ] || echo "ghost $pid $path" ;;
                regular*) echo "unlinked $pid $path" ;;
            esac
        done
}

# Memory that is not as other memory: huge pages, secret memory, rings; by descriptor or by mapping.
special_maps() { # FILE
    grep ' /memfd:' "$1.fds" | while read -r link _; do
        [ "$(stat -f -L -c %T "$link" 2> /dev/null)" != hugetlbfs ] || echo "$link"
    done | awk -F/ '{ print "huge", $3 }'
    awk '$2 == "/secretmem" { split($1, at, "/"); print "handle", at[3], "secretmem" }' "$1.fds"
    sed 's|$|/maps|' "$1.dirs" | xargs awk '
        $6 ~ /^(\/anon_hugepage|\/secretmem|anon_inode:)/ {
            split(FILENAME, at, "/")
            sub(/^[^:]*:/, "", $6); gsub(/[][\/]/, "", $6)
            print $6 == "anon_hugepage" ? "huge" : "handle", at[3], $6 == "anon_hugepage" ? "" : $6
        }' 2> /dev/null || :
}

# Locks that a restore lets go (relock.py), which a target without Python cannot take again.
locks_on_mapped() { # FILE
    awk '$2 == "POSIX" { split($6, at, ":"); print "lock", $5, at[3] }' /proc/locks > "$1.locks"
    [ -s "$1.locks" ] || return 0
    sed 's|$|/maps|' "$1.dirs" | xargs awk '
        $1 == "lock" { locked[$2, $3] = 1; next }
        $5 > 0 { split(FILENAME, at, "/"); if ((at[3], $5) in locked) print "locks", at[3], $6 }' "$1.locks" 2> /dev/null || :
}

# A lock on a file of a volume: the frozen source holds it in the sight of all nodes, so no copy can take it.
locks_on_volumes() { # CT FILE   (lines of descriptors)
    [ -e "$CONTAINERS/$1/volumes" ] || return 0
    while read -r _ _ inside; do
        awk -v top="$inside/" 'index($2, top) == 1 { sub("/fd/", "/fdinfo/", $1); print $1 }' "$2" |
            xargs -r grep -l '^lock:' 2> /dev/null |
            awk -F/ -v inside="$inside" '{ print "locked", $3, inside }' || :
    done < "$CONTAINERS/$1/volumes"
}

# --- watches (inotify, fanotify) -----------------------------------------------------------------------------------

# CRIU needs a path for each inode that is watched. On the container's own root it cannot find one by itself, and is told.
lost_watches() { # INIT
    watches "$1" | awk '$1 == "-" { print "watch", $2 }'
}

# What is watched, as "PATH PID" lines; "-" where no path leads there any more.
watches() { # INIT   (lines of descriptors on stdin)
    awk '/ anon_inode:(inotify|\[fanotify\])/ { sub("/fd/", "/fdinfo/", $1); print $1 }' |
        xargs -r grep -HE '^(inotify|fanotify ino)' 2> /dev/null |
        sed -n 's|^/proc/\([0-9]*\)/.*ino:\([0-9a-f]*\) .*sdev:\([0-9a-f]*\) .*|\3 \2 \1|p' | sort -u > "$scratch.watches"
    cut -d ' ' -f 1 "$scratch.watches" | sort -u | while read -r device; do
        number=$((0x$device >> 20)):$((0x$device & 0xfffff))
        point=$(awk -v number="$number" '$3 == number { print $5, $0 ~ / - (overlay|tmpfs) / ; exit }' "/proc/$1/mountinfo")
        case $point in *' 1') point=${point% 1} ;; *) continue ;; esac
        wanted=$(awk -v device="$device" '$1 == device { print $2 }' "$scratch.watches" | sort -u |
            while read -r inode; do printf -- ' -o -inum %d' "$((0x$inode))"; done)
        # shellcheck disable=SC2086
        timeout 20 find "/proc/$1/root$point/" -xdev \( ${wanted# -o} \) -printf '%i %P\n' > "$scratch.watched" || :
        awk -v device="$device" '$1 == device { print $2, $3 }' "$scratch.watches" | while read -r inode pid; do
            path=$(awk -v inode="$((0x$inode))" '$1 == inode { sub(/^[0-9]* ?/, ""); print; exit }' "$scratch.watched")
            path=${point%/}/$path # with the mount's own, which the kernel tells with blanks and the like as octal numbers
            grep -q "^$((0x$inode)) " "$scratch.watched" && is_plain "$path" || { echo "- $pid"; continue; }
            printf '%s %s\n' "$path" "$pid"
        done
    done
    rm -f "$scratch.watches" "$scratch.watched"
}

# The container's root names its files as it likes; what is written into CRIU's configuration is only a path.
is_plain() {
    case $1 in
        *[!A-Za-z0-9._/@:+,=-]*) return 1 ;;
    esac
}

# Tells CRIU what it cannot find out: where watched files are, and that files without a name may be as large as the check
# allows. Before the freeze, as late as may be. What it was told for an earlier move is forgotten.
tell_criu() { # CT INIT
    conf=$CONTAINERS/$1/criu.conf scratch=$RUN/.look.$$
    {
        sed '/^irmap-scan-path /d; /^ghost-limit /d; /^action-script /d; /^freeze-cgroup /d' "$conf"
        # Beside a freezer of the first version runc would name that.
        ! is_first_version || echo "freeze-cgroup $TREE/ct/$1"
        echo "action-script $KIT/criu-hook" # this kit's, whatever version has made the container
        echo "ghost-limit $GHOST_BYTES_MAX"
        pids_of "$1" | sed 's|^|/proc/|' | descriptors | watches "$2" |
            sed -n 's|^\(/[^ ]*\) .*|irmap-scan-path \1|p' | sort -u
    } > "$conf.new"
    mv "$conf.new" "$conf"
}

# --- sockets -------------------------------------------------------------------------------------------------------

# Kinds that CRIU does not know: MPTCP, in which servers in Go listen by default, and others, which only the socket itself
# tells, to who can ask for an extended attribute. And of a netlink socket CRIU leaves nothing that was not read.
sockets() { # INIT
    awk '/ socket:\[/ { split($1, at, "/"); inode = $2; gsub(/[^0-9]/, "", inode); print inode, at[3], $1 }' > "$scratch.sockets"
    in_network "$1" ss -Hane -M 2> /dev/null | sed -n 's/.* ino:\([0-9]*\).*/\1 socket MPTCP/p' | of_inodes
    awk 'FNR > 1 && $5 > 0 { print $10, "unread" }' "/proc/$1/net/netlink" | of_inodes
    ! has_python || cut -d ' ' -f 3 "$scratch.sockets" | python3 -ESsB "$KIT/socket_kinds.py"
}

of_inodes() { awk 'NR == FNR { of[$1] = $2; next } $1 in of { print $2, of[$1], $3 }' "$scratch.sockets" -; }

# Groups that a program has joined: CRIU does not join them again, and the program would hear no more. A kernel joins for
# itself those of all hosts and of its own addresses.
memberships() { # INIT
    awk -v init="$1" 'FNR > 2 && /^\t/ && $1 != "010000E0" { print "multicast", init, $1 }' "/proc/$1/net/igmp"
    awk -v init="$1" '$3 !~ /^ff0[12]0{27}1$/ && $3 !~ /^ff020{19}1ff/ { print "multicast", init, $3 }' \
        "/proc/$1/net/igmp6" 2> /dev/null || :
}
