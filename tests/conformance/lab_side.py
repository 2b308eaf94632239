"""Plays a step script on nodes of the lab, through the same calls that the program makes."""

from __future__ import annotations

import asyncio
import contextlib
import re

from migrator.executor.fleet import Fleet
from migrator.inventory import cluster_file
from migrator.lab import lab as labs
from migrator.steps.base import Move
from migrator.transport import kit
from migrator.transport.base import NodeFailed, NodeMissing, NodeRefused, NodeUnreachable
from migrator.transport.ssh import SshNode
from tests.conformance.compare import Effects, Outcome, outcome
from tests.conformance.sim_side import FILES, NAME, ROOM, Start
from tests.conformance.steps_side import made, take
from tests.lab.stage import Stage

NODE = f"{kit.directory()}/node"
CALL_TIMEOUT_S = 90
MARK = "=-=-="

# One line a fact; the shape of what simulated machines tell of themselves.
LOOK = r"""
ct=web; disk=/var/lib/migrator; run=/run/migrator; group=/sys/fs/cgroup/ct/$ct
read -r boot < /proc/sys/kernel/random/boot_id
alive() { ! flock -n "$1/lock" true; }
if [ -e $disk/records/$ct ]; then
    while IFS='=' read -r key value; do
        case $key in
            boot) [ "$value" = "$boot" ] && echo "record same_boot=yes" || echo "record same_boot=no" ;;
            creator) ;;
            void) # the token whose fence has ended: told where it can still matter
                [ "$state" = serving ] && [ "$run_of" != - ] || continue
                [ "$value" = "$token" ] && echo "record void=yes" || echo "record void=no" ;;
            *)
                case $key in
                    state) state=$value ;;
                    token) token=$value ;;
                    run) run_of=$value ;;
                esac
                echo "record $key=$value" ;;
        esac
    done < $disk/records/$ct
fi
floor=$(awk -v ct=$ct '($1 == ct || $1 == "*") && $2 > top { top = $2 } END { print top + 0 }' $disk/floor 2> /dev/null)
echo "floor=${floor:-0}"
held=no
for move in $run/move/$ct.[0-9]*; do
    [ -d "$move" ] || continue
    [ ! -e "$move/held" ] || [ -e "$move/ended" ] || held=yes
    has=empty
    [ ! -f "$move/images/inventory.img" ] && [ ! -e "$move/came" ] || has=images
    echo "move ${move##*.}=$has"
done
if ! grep -q . $group/cgroup.procs 2> /dev/null; then echo copy=none
elif grep -q 'frozen 1' $group/cgroup.events; then echo copy=frozen
elif [ $held = yes ]; then echo copy=held
else echo copy=running; fi
gate=none
for end in /sys/class/net/ct*; do
    [ ! -e "$end" ] || { [ -e "$end/brport" ] && gate=open || gate=closed; }
done
echo "gate=$gate"
for job in $run/jobs/$ct.[0-9]*; do
    [ -d "$job" ] || continue
    name=${job##*/$ct.}
    case $name in *.receive-*) name=${name%%.*}.receive ;; esac
    alive "$job" && echo "job ${name%%.*} ${name#*.}=alive" || echo "job ${name%%.*} ${name#*.}=ended"
done
for key in $run/keys/$ct.[0-9]*; do
    name=${key##*/$ct.}
    case $name in *[!0-9]*) ;; *) echo "private key $name=yes" ;; esac
done
for link in $run/links/$ct.[0-9]*; do [ ! -S "$link" ] || echo "link ${link##*.}=yes"; done
sed -n "s/.* migrator:$ct\.\([0-9]*\)\$/authorized key \1=yes/p" /root/.ssh/authorized_keys
for part in $disk/templates/.part-$ct.*; do [ ! -d "$part" ] || echo "part ${part##*.}=yes"; done
if [ -d $disk/containers/$ct ]; then
    echo "tree=$(cd $disk/containers/$ct && ls config.json criu.conf descriptor.json net restart 2> /dev/null | xargs)"
fi
echo "templates=$(ls $disk/templates | xargs)"
[ ! -e $disk/cordon ] || echo "cordon=$(cat $disk/cordon)"
[ ! -d $run/keepers/$ct ] || ! alive $run/keepers/$ct || echo keeper=yes
"""
# Holds the lock, says so, and lets go when something comes in.
HOLD = "exec 9> /var/lib/migrator/lock; flock 9; echo held; read -r _"
WAITS = "i=0; until pgrep -f '[f]lock -w 20 9' || [ $i -gt 400 ]; do i=$((i+1)); sleep 0.02; done"
GROUP = f"/sys/fs/cgroup/ct/{NAME}"


class LabNode(SshNode):
    """A node, and its console over a connection of the same kind."""

    async def shell(self, script: str, stdin: bytes = b"") -> str:
        code, out, err = await self._run(
            await self._connected("console"), "console", self.command("sh", "-c", script), stdin, CALL_TIMEOUT_S
        )
        assert code == 0, (self.name, script[-300:], out, err)
        return out

    def break_connection(self) -> None:
        if self._connection is not None:
            self._connection.abort()


class LabSide:
    """The lab with one container, for many scripts. `roles` says which node is whose for the script at hand."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.file = cluster_file.load(stage.paths.cluster_file)
        self.calls = {entry.name: LabNode(entry.name, self.file.ssh_address(entry)) for entry in self.file.nodes}
        self.consoles = {entry.name: LabNode(entry.name, self.file.ssh_address(entry)) for entry in self.file.nodes}
        self.roles = {"s": "n1", "t": "n2"}
        self.values: dict[str, str] = {}
        self.base = self.generation = 1
        self.move: Move | None = None

    async def close(self) -> None:
        for node in (*self.calls.values(), *self.consoles.values()):
            await node.close()

    def console(self, role: str) -> LabNode:
        return self.consoles[self.roles[role]]

    # --- acts ---------------------------------------------------------------------------------------------------------

    async def call(self, role: str, words: list[str], fault: str = "", stdin: bytes = b"always\n") -> Outcome:
        if fault:
            await self._cut(role, words, stdin)
        node = self.calls[self.roles[role]]
        try:
            answer = await node.call(
                words[0], *words[1:], stdin=stdin, timeout_s=CALL_TIMEOUT_S, tries=3 if fault else 1
            )
        except NodeUnreachable:
            return Outcome("unreachable")
        except NodeFailed as error:
            return outcome(1, "", str(error), self.base)
        except (NodeRefused, NodeMissing) as error:
            return outcome(10 if isinstance(error, NodeRefused) else 11, "", str(error), self.base)
        if words[0] == "keygen":
            self.values.update(key=answer.get("key"), address=answer.get("address"))
        return outcome(0, answer.text, "", self.base)

    async def _cut(self, role: str, words: list[str], stdin: bytes) -> None:
        """Calls while the node's lock is held, and cuts the connection when the verb waits for it."""
        node, console = self.calls[self.roles[role]], self.console(role)
        connection = await console._connected("console")
        holder = await connection.create_process(HOLD)
        async with asyncio.timeout(CALL_TIMEOUT_S):
            assert (await holder.stdout.readline()).strip() == "held"
            lost = asyncio.ensure_future(node.call(words[0], *words[1:], stdin=stdin, timeout_s=60, tries=1))
            waits = asyncio.ensure_future(console.shell(WAITS))
            await asyncio.wait((lost, waits), return_when=asyncio.FIRST_COMPLETED)
            node.break_connection()
            with contextlib.suppress(NodeUnreachable, NodeRefused, NodeFailed, NodeMissing):
                await lost
            waits.cancel()
            holder.stdin.write("go\n")
            await holder.wait_closed()

    async def batch(self, role: str, lines: list[str]) -> list[Outcome]:
        """Many calls at a node's console, one after the other: what ssh adds to each is the same for all."""
        script = "".join(
            f"printf 'always\\n' | sh {NODE} {line} > /tmp/said 2> /tmp/erred && c=0 || c=$?; echo $c; "
            f"cat /tmp/said; echo {MARK}; tail -n 1 /tmp/erred; echo {MARK}\n"
            for line in lines
        )
        out = await self.console(role).shell(script)
        parts = out.split(f"{MARK}\n")[:-1]
        told = []
        for said, erred in zip(parts[::2], parts[1::2], strict=True):
            code, _, text = said.partition("\n")
            told.append(outcome(int(code), text, erred, self.base))
        return told

    async def put(self, role: str, token: str) -> list[Outcome]:
        told = []
        for name in FILES:
            text = await self.console("s").shell(f"cat /var/lib/migrator/containers/{NAME}/{name}")
            data = text.encode()
            told.append(await self.call(role, ["ct-put", NAME, token, name, str(len(data))], stdin=data))
        return told

    async def crash(self, role: str) -> None:
        await asyncio.to_thread(labs.crash, self.stage.paths, self.roles[role])
        for nodes in (self.calls, self.consoles):
            await nodes[self.roles[role]].close()

    async def boot(self, role: str) -> None:
        await asyncio.to_thread(labs.boot, self.stage.paths, self.roles[role])

    async def kill(self, role: str) -> None:
        await self.console(role).shell(
            f"echo 1 > {GROUP}/cgroup.kill; while grep -q . {GROUP}/cgroup.procs 2> /dev/null; do sleep 0.02; done; "
            f"for job in /run/migrator/jobs/{NAME}.*.restore; do [ ! -d $job ] || flock -w 60 $job/lock true; done; "
            # The cable goes with the network namespace, which the kernel takes down a moment after its last process.
            "tries=200; while ls -d /sys/class/net/ct* && [ $tries -gt 0 ]; do tries=$((tries - 1)); sleep 0.02; done"
        )

    async def watchdog(self, token: str) -> None:
        await self.console("s").shell(
            f"dir=/run/migrator/jobs/{NAME}.{token}.watchdog; [ ! -d $dir ] || flock -w 80 $dir/lock true"
        )

    async def runs(self, role: str) -> None:
        """With its gate open: that comes last."""
        await self.console(role).shell(
            f"until grep -q . {GROUP}/cgroup.procs 2> /dev/null && ls -d /sys/class/net/ct*/brport; do sleep 0.05; done"
        )

    async def lose(self, role: str, token: str) -> None:
        await self.console(role).shell(f"rm -rf /run/migrator/move/{NAME}.{token}/images/*")

    async def maim(self, role: str) -> None:
        await self.console(role).shell(
            f"for pid in $(cat {GROUP}/cgroup.procs); do "
            "awk '$1 == \"NSpid:\" && NF == 3 && $3 != 1 { exit 1 }' /proc/$pid/status || break; done; "
            f"kill -9 $pid; while grep -qx $pid {GROUP}/cgroup.procs; do sleep 0.02; done"
        )

    async def bridge(self, role: str, name: str) -> None:
        await self.console(role).shell(f"sed -i 's/^bridge .*/bridge {name}/' /var/lib/migrator/containers/{NAME}/net")

    async def end_job(self, role: str, token: str, name: str) -> None:
        directory = f"/run/migrator/jobs/{NAME}.{token}.{name}"
        await self.console(role).shell(
            f"until [ -s {directory}/pid ]; do sleep 0.02; done; "
            f"kill -9 -$(cat {directory}/pid); flock -w 30 {directory}/lock true"
        )

    async def part(self) -> None:
        for role, other in (("s", "t"), ("t", "s")):
            peer = self.file.entry(self.roles[other]).host
            await self.console(role).shell(
                "nft add table inet part; nft 'add chain inet part out { type filter hook output priority 0; }'; "
                f"nft add rule inet part out ip daddr {peer} drop"
            )

    async def heal(self) -> None:
        for role in ("s", "t"):
            await self.console(role).shell("nft delete table inet part 2> /dev/null || :")

    async def step(self, way: str, name: str) -> Outcome:
        if self.move is None:
            fleet = Fleet(self.file, lambda entry: self.calls[entry.name], "step")
            self.move = await made(fleet, NAME, self.roles["s"], self.roles["t"], self.generation)
        return await take(self.move, way, name)

    # --- what is true -------------------------------------------------------------------------------------------------

    async def effects(self) -> Effects:
        roles = list(self.roles)
        return dict(zip(roles, await asyncio.gather(*(self._look(role) for role in roles)), strict=True))

    async def _look(self, role: str) -> dict[str, str]:
        if not next(n.up for n in labs.status(self.stage.paths) if n.name == self.roles[role]):
            return {"power": "off"}
        lines = (await self.console(role).shell(LOOK)).splitlines()
        return dict(line.split("=", 1) for line in lines)

    # --- between scripts ----------------------------------------------------------------------------------------------

    async def begin(self) -> Start:
        """Looks where the container is, at rest, and from which token a script may begin."""
        seen = {}
        for role, node in (("s", "n1"), ("t", "n2")):
            self.roles[role] = node
            seen[node] = await self._look(role)
        if "record state" not in seen["n1"]:
            self.roles = {"s": "n2", "t": "n1"}
        mine, other = seen[self.roles["s"]], seen[self.roles["t"]]
        floors = (int(mine["floor"]), int(other["floor"]))
        self.base = max(int(mine["record token"]), *floors)
        if self.base > int(mine["record token"]):
            await self.batch("s", [f"settle {NAME} {self.base} 1"])
        peer = self.file.entry(self.roles["t"]).host
        host_key = await self.console("t").shell("cut -d ' ' -f 1,2 /etc/ssh/ssh_host_ed25519_key.pub")
        id_base = await self.console("s").shell(f"cat /var/lib/migrator/containers/{NAME}/id_base")
        digest = await self.console("t").shell("head -n 1 /var/lib/migrator/templates/debian/digest")
        self.values = {"peer": peer, "host_key": host_key.strip(), "id_base": id_base.strip(), "room": ROOM}
        self.values["digest"] = digest.strip()
        numbers = {key: int(mine[f"record {key}"]) for key in ("generation", "memory_bytes", "cpu_milli", "disk_bytes")}
        self.move, self.generation = None, numbers["generation"]
        return Start(token=self.base, floors=floors, **numbers)

    async def end(self) -> None:
        """Brings the container back to rest, from wherever a script has left it."""
        for role in ("s", "t"):
            await self.boot(role)
        await self.heal()
        seen = await self.effects()
        mine, other = (seen[role].get("record state", "absent") for role in ("s", "t"))
        if mine == "absent":
            await self._settle("t", "release {token}", "thaw {token}", "reclaim {token}", "settle {token} 1 {run}")
            await self.batch("t", [f"ct-start {NAME}"])
        elif other in ("released", "serving"):
            await self._settle("s", "stand-down {token} 999", "retire {token}")
            await self._settle("t", "settle {token} 1 {run}")
            await self.batch("t", [f"ct-start {NAME}"])
        else:
            await self._settle("s", "thaw {token}", "reclaim {token}", "settle {token} 1 {run}")
            await self._settle("t", "discard-target {token} {run}", "retire {token}", "settle {token} 1 {run}")
            await self.batch("t", [f"ct-remove {NAME}"])
            await self.batch("s", [f"ct-start {NAME}"])
        held_by = [there.get("record state", "absent") for there in (await self.effects()).values()]
        assert sorted(held_by) == ["absent", "serving"], f"a script has left {held_by}"
        self.roles = dict(sorted(self.roles.items()))

    async def _settle(self, role: str, *lines: str) -> None:
        there = await self._look(role)
        run = re.sub(r"^-$", "", there.get("record run", ""))
        token = there.get("record token", str(self.base))
        words = [line.format(token=f"{NAME} {token}", run=run) for line in lines]
        await self.batch(role, words)
