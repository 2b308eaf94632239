"""What lab tests do to a lab: run the program as a user would, look at nodes from outside, and clean up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from migrator.lab import lab as labs
from migrator.lab.paths import LabPaths

MIGRATOR = [sys.executable, "-c", "from migrator.cli.main import main; main()"]
KILL_AT = Path(__file__).parent / "kill_at.py"
KILL_RESUME = Path(__file__).parent / "kill_resume.py"

# Answers each line with the next number, and holds as many MiB of random memory as asked.
COUNTER = """
import os, socketserver, sys
held = bytearray(os.urandom(1 << 20) * int(sys.argv[1]))
count = 0
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        global count
        for line in self.rfile:
            count += 1
            self.wfile.write(b"%d\\n" % count)
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
Server(("", 7000), Handler).serve_forever()
"""


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Stage:
    """A lab, and the program as a person runs it there; no command may take longer than `patience_s`."""

    paths: LabPaths
    spec: labs.Spec
    journal: Path
    begun: int = 0
    patience_s: float = 90

    @property
    def cluster(self) -> str:
        return str(self.paths.cluster_file)

    def ip(self, number: int) -> str:
        return f"10.213.{self.spec.subnet_index}.{100 + number}"

    def migrator(self, *words: str, timeout_s: float | None = None, cluster: str | None = None) -> Outcome:
        """Runs the program as a process of its own."""
        timeout_s = timeout_s or self.patience_s
        env = {**os.environ, "MIGRATOR_CLUSTER": cluster or self.cluster, "MIGRATOR_JOURNAL": str(self.journal)}
        done = subprocess.run(
            [*MIGRATOR, *words], capture_output=True, text=True, timeout=timeout_s, env=env, check=False
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Starts the program and returns at once, with its stderr to read."""
        env = {**os.environ, "MIGRATOR_CLUSTER": self.cluster, "MIGRATOR_JOURNAL": str(self.journal)}
        return subprocess.Popen([*MIGRATOR, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)

    def ok(self, *words: str) -> Outcome:
        done = self.migrator(*words)
        assert done.code == 0, f"{words}: {done.code}\n{done.out}\n{done.err}"
        return done

    def counter(self, name: str, node: str, number: int, *, mib: int = 8, more: tuple[str, ...] = ()) -> str:
        """A container that counts; returns its address."""
        ip = self.ip(number)
        words = ("ct", "create", name, "--node", node, "--template", "debian", "--ip", ip, *more)
        self.ok(*words, "--", "python3", "-c", COUNTER, str(mib))
        return ip

    def says(self, name: str, text: str) -> bool:
        """Whether the container's log comes to be this text within ten seconds: a program may not have written yet."""
        for _ in range(100):
            if self.ok("ct", "logs", name).out == text:
                return True
            time.sleep(0.1)
        return False

    def places(self, name: str) -> list[tuple[str, str]]:
        """Every (node, state) at which a container is listed."""
        rows = self.ok("ct", "list", "--json").json()["containers"]
        return [(row["node"], row["state"]) for row in rows if row["name"] == name]

    def last_run(self) -> dict[str, Any]:
        run = self.ok("runs", "--json").json()["runs"][0]["run"]
        shown: dict[str, Any] = self.ok("show", run, "--offline", "--json").json()
        return shown

    def on_node(self, node: str, *command: str, stdin: str = "", timeout_s: float = 30) -> Outcome:
        """A command at a node's console."""
        argv = labs.exec_argv(self.paths, node, command)
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False)
        return Outcome(done.returncode, done.stdout, done.stderr)

    def console(self, node: str, *command: str) -> subprocess.Popen[str]:
        """A command at a node's console that goes on, with its stdout to read, until its stdin is closed."""
        argv = labs.exec_argv(self.paths, node, command)
        return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def kill_at(
        self,
        container: str,
        target: str,
        moment: str,
        blackout_s: float = 15,
        cluster: str | None = None,
        mode: str = "auto",
    ) -> int:
        """Starts a migration that is killed at a moment ("fenced:end"); returns the exit code, which is -9."""
        argv = [
            sys.executable,
            KILL_AT,
            cluster or self.cluster,
            self.journal,
            container,
            target,
            moment,
            mode,
            str(blackout_s),
        ]
        return self._killed([str(word) for word in argv])

    def kill_resume(self, run: str, verb: str) -> int:
        """Starts a resume that is killed when a node has answered a verb; returns the process's exit code."""
        words = [sys.executable, str(KILL_RESUME), self.cluster, str(self.journal), run, verb]
        return self._killed(words)

    def _killed(self, words: list[str]) -> int:
        done = subprocess.run(words, capture_output=True, text=True, timeout=90, check=False)
        assert done.returncode == -signal.SIGKILL, f"the moment did not come: {done.stdout}{done.stderr}"
        return done.returncode

    def begin(self) -> None:
        """Every node up, and a journal that knows of nothing: so that tokens begin with 1 for every test."""
        self.begun += 1
        self.journal = self.journal.with_name(f"journal-{self.begun}.db")
        self.boot_all()
        if self.leftovers():
            self.wipe()

    def wipe(self) -> None:
        """Takes what a failed test has left away, by force: it has said so, and the next is no part of it."""
        for node in self.spec.nodes:
            self.on_node(
                node, "sh", "-c", "cd /var/lib/migrator && rm -rf records/* floor cordon boot templates/.part*"
            )
            labs.crash(self.paths, node)
            labs.boot(self.paths, node)
            self.on_node(
                node,
                "sh",
                "-c",
                "rm -rf /var/lib/migrator/containers/*; sed -i /migrator:/d /root/.ssh/authorized_keys",
            )

    def boot_all(self) -> None:
        for node in self.spec.nodes:
            labs.boot(self.paths, node)

    def remove_all(self) -> None:
        """Ends what a test left: unfinished runs first, then every container."""
        for run in self.ok("runs", "--json").json()["runs"]:
            if run["outcome"] == "unfinished":
                self.migrator("resume", run["run"])
        for node in self.spec.nodes:
            self.on_node(node, "rm", "-f", "/var/lib/migrator/cordon")
        for row in self.ok("ct", "list", "--json").json()["containers"]:
            self.migrator("ct", "destroy", row["name"], "--force", "--yes")
        for node in self.spec.nodes:  # a node never forgets a token; a test begins with 1
            self.on_node(node, "rm", "-f", "/var/lib/migrator/floor")

    def leftovers(self) -> list[str]:
        """Everything of a migration or a container that is on any node."""
        look = (
            "ls -d /run/migrator/jobs/* /run/migrator/keepers/* /run/migrator/move/* /run/migrator/keys/* "
            "/run/migrator/links/* "
            "/var/lib/migrator/records/* /var/lib/migrator/containers/* /var/lib/migrator/templates/.part* "
            "/var/lib/migrator/cordon /run/migrator/runc/* /run/migrator/start.* /run/migrator/ready.* "
            "/sys/class/net/ct* 2>/dev/null; find /sys/fs/cgroup/ct /sys/fs/cgroup/*/ct /run/migrator/tree/ct "
            "-mindepth 1 -maxdepth 1 -type d 2>/dev/null; "
            "grep -h migrator: /root/.ssh/authorized_keys; grep -E '/(move|containers|cgyard)' /proc/mounts; "
            "nft list tables; pgrep -af '[n]ode keep'; pgrep -a 'criu|runc|rsync|arping'"
        )
        found = []
        for node in self.spec.nodes:
            found += [f"{node}: {line}" for line in self.on_node(node, "sh", "-c", look).out.splitlines()]
        return found
