# Jobs: long work that outlives the connection that asked for it. Sourced by lib.sh.
#
# A job is a directory $RUN/jobs/CT.TOKEN.NAME with lock (held as long as anything of the job lives), pid (leader of
# its process group; the first thing a job writes: without it nothing of it ever ran), asked (when somebody last asked
# for it, in milliseconds since boot), out, err, status (its exit code, written last) and why (what ended it early).

# A job that may be ended at any point ends itself when nobody has asked for it this long.
ORPHAN_S=120

job_alive() { [ -e "$1/lock" ] && ! flock -n 5 5< "$1/lock" 2> /dev/null; }

# Starts a verb as a process of its own, which nobody's connection or lock holds up, or is held up by.
detach() { # DIR VERB ARGS...
    dir=$1
    shift
    rm -rf "$dir.new"
    mkdir "$dir.new"
    uptime_ms
    echo "$now_ms" > "$dir.new/asked"
    exec 8> "$dir.new/lock"
    flock 8
    mv "$dir.new" "$dir" # from the first moment that it can be found, its lock is held
    setsid sh "$KIT/node" "$@" < /dev/null > "$dir/out" 2> "$dir/err" 3>&- 4>&- 9>&- &
    exec 8>&-
}

job_start() { # DIR ORPHAN_S VERB ARGS...
    detach "$1" job-main "$@"
}

verb_job_main() { # DIR ORPHAN_S VERB ARGS...   (runs in the job; fd 8 is the job's lock)
    dir=$1 orphan_s=$2
    case $dir in
        "$RUN"/jobs/*/* | "$RUN"/jobs/.*) refuse "not a job: $dir" ;;
        "$RUN"/jobs/?*) ;;
        *) refuse "not a job: $dir" ;;
    esac
    shift 2
    echo "$$" > "$dir/pid"
    code=0
    if [ "$orphan_s" = 0 ]; then
        sh "$KIT/node" "$@" || code=$?
    else
        exec 7> "$dir/work"
        flock 7
        sh "$KIT/node" "$@" &
        work=$!
        exec 7>&-
        until flock -w "$((orphan_s / 4 + 1))" "$dir/work" true; do
            end_orphan
        done
        wait "$work" || code=$?
    fi
    echo "$code" > "$dir/status.new"
    mv "$dir/status.new" "$dir/status"
}

# Ends the job it runs in, if nobody has asked for it for too long. No status: it is told as lost, and never run again.
end_orphan() {
    uptime_ms
    read -r asked < "$dir/asked" || asked=$now_ms # empty: somebody is asking right now
    [ "$((now_ms - asked))" -ge "$((orphan_s * 1000))" ] || return 0
    echo "nobody has asked for it for $orphan_s s" > "$dir/why"
    kill -9 "-$$"
}

# What may be ended at any point: passes over files and templates that the next pass makes good. Not the last pass,
# which belongs to the fence and ends with its link; never a dump, a restore or a watchdog.
may_end() { # VERB ARGS...
    case $1 in
        send-template) ;;
        send-files) [ "$4" != final ] ;;
        *) return 1 ;;
    esac
}

job_report() { # DIR
    alive=no
    # Asked first: a job that ends meanwhile has its status by then.
    [ -e "$1/status" ] || ! job_alive "$1" || alive=yes
    if [ -e "$1/status" ]; then
        read -r code < "$1/status"
        echo 'job done'
        echo "exit $code"
        awk '{ line[NR % 200] = $0 } END { for (at = NR > 200 ? NR - 199 : 1; at <= NR; at++) print "out " line[at % 200] }' "$1/out"
        [ "$code" = 0 ] || tail -c 2000 "$1/err" | tail -n 8 | sed 's/^/err /'
    elif [ "$alive" = yes ]; then
        echo 'job running'
    else
        echo 'job lost'
        [ ! -e "$1/why" ] || sed 's/^/err /' "$1/why"
    fi
}

# Ends a job and waits until nothing of it lives.
job_kill() { # DIR
    tries=0
    while job_alive "$1"; do
        tries=$((tries + 1))
        [ "$tries" -lt 200 ] || fail 12 "job ${1##*/} does not end"
        if [ -s "$1/pid" ]; then
            read -r pid 2> /dev/null < "$1/pid" || continue # somebody else who ends it has just done so
            kill -9 "-$pid" 2> /dev/null || :
            flock -w 10 5 5< "$1/lock" || [ ! -d "$1" ] || fail 12 "job ${1##*/} does not end"
        else
            sleep 0.05 # it is only just beginning
        fi
    done
    rm -rf "$1"
}

# Ends every job of a container: of one token, or (with a bare name) of all.
jobs_kill() { # CT [TOKEN]
    for dir in "$RUN/jobs/$1".${2:-[0-9]*}.*; do
        [ ! -d "$dir" ] || job_kill "$dir"
    done
}

# Starts the job unless it was started before, waits up to WAIT_S for its end, and says how it stands. Whoever calls
# again finds it: the node's lock lets one caller start it, and it is started again only if nothing of it ever ran.
verb_job() { # CT TOKEN NAME WAIT_S[,ORPHAN_S] VERB ARGS...
    ct=$1 token=$2 name=$3 wait_s=${4%,*} orphan_s=$ORPHAN_S
    [ "$wait_s" = "$4" ] || orphan_s=${4#*,}
    shift 4
    check_name "$ct"
    check_name "$name"
    for number in "$token" "$wait_s" "$orphan_s"; do
        check_number "$number"
    done
    may_end "$@" || orphan_s=0
    dir=$RUN/jobs/$ct.$token.$name
    if [ ! -s "$dir/pid" ]; then
        lock
        read_record "$ct"
        check_run "$ct" "$token"
        [ -s "$dir/pid" ] || job_alive "$dir" || rm -rf "$dir"
        [ -d "$dir" ] || job_start "$dir" "$orphan_s" "$@"
        unlock
    fi
    uptime_ms
    echo "$now_ms" 2> /dev/null > "$dir/asked" || : # a later lease may have taken it away meanwhile
    [ -e "$dir/status" ] || flock -w "$wait_s" 5 5< "$dir/lock" 2> /dev/null || :
    job_report "$dir"
}
