# How hard this node is pressed, and who on it: PSI of the node and of each container's group where cgroups are of
# version 2, swap-ins, OOM kills, CPU time. A kernel without PSI, or booted with it off, tells nothing of it. One look at
# all of them: a node may have hundreds.
tell_pressure() {
    page=$(getconf PAGESIZE 2> /dev/null) || page=4096
    {
        grep -HE '^(some|full|pswpin|oom_kill|usage_usec) ' \
            /proc/pressure/cpu /proc/pressure/memory /proc/pressure/io /proc/vmstat "$TREE"/ct/*/cpu.pressure \
            "$TREE"/ct/*/memory.pressure "$TREE"/ct/*/io.pressure "$TREE"/ct/*/memory.events "$TREE"/ct/*/cpu.stat \
            "$CGROUP"/memory/ct/*/memory.oom_control
        ! is_first_version || grep -HE '^[0-9]+$' "$CGROUP"/cpuacct/ct/*/cpuacct.usage
    } 2> /dev/null | awk -v page="$page" '
        { path = substr($1, 1, index($1, ":") - 1); key = substr($1, index($1, ":") + 1) }
        path == "/proc/vmstat" && key == "pswpin" { printf "swapped_in_bytes %.0f\n", $2 * page; next }
        path == "/proc/vmstat" { print "oom_kills", $2; next }
        {
            parts = split(path, part, "/")
            resource = part[parts]
            sub(/\.pressure$/, "", resource)
            who = path ~ /^\/proc\// ? "" : part[parts - 1]
            if (!(who in seen)) { seen[who] = 1; order[++count] = who }
        }
        key == "some" || key == "full" {
            sub(/^avg10=/, "", $2)
            sub(/^avg60=/, "", $3)
            stall[who, resource, key] = $2 "," $3
            next
        }
        key == "oom_kill" { kills[who] = $2; next }
        key == "usage_usec" { used[who] = $2; next }
        { used[who] = sprintf("%.0f", key / 1000) }
        END {
            for (i = 1; i <= count; i++) {
                who = order[i]
                line = ""
                for (r = split("cpu memory io", names, " "); r > 0; r--)
                    if ((who, names[r], "some") in stall)
                        line = line " " names[r] "=" stall[who, names[r], "some"] "," \
                            ((who, names[r], "full") in stall ? stall[who, names[r], "full"] : "0.00,0.00")
                if (who in kills) line = line " oom_kills=" kills[who]
                if (who in used) line = line " cpu_us=" used[who]
                if (line != "") print "pressure " (who == "" ? "-" : who) line
            }
        }'
}
