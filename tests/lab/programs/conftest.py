"""Real programs in containers: where they stand, how they are moved, and the one list of the ways to move them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import pytest

from migrator.lab.programs import PROGRAMS
from tests.lab.programs.load import Load
from tests.lab.stage import Stage
from tests.lab.test_site import with_hook

# Every way to move a container, by the words that `migrator migrate` gets for it. Each program is tried in each; `auto`
# is stop-and-copy.
MODES: dict[str, tuple[str, ...]] = {"auto": (), "post-copy": ("--mode", "post-copy")}
IN_FULL = {"post-copy"}
REFUSES = 'case $document in *before_commit*) echo "not now"; exit 1 ;; esac'


@dataclass
class Actor:
    """A container with a program, on n1, and its moves."""

    stage: Stage
    name: str
    ips: tuple[str, ...]
    mode: tuple[str, ...]

    @property
    def ip(self) -> str:
        return self.ips[0]

    @property
    def ip6(self) -> str:
        return self.ips[1]

    async def inside(self, *words: str) -> str:
        """What a command in the container says."""
        return (await asyncio.to_thread(self.stage.ok, "ct", "exec", self.name, "--", *words)).out

    async def to(self, target: str) -> None:
        await asyncio.to_thread(self.stage.ok, "migrate", self.name, "--to", target, *self.mode)
        assert self.stage.places(self.name) == [(target, "running")]

    async def rolled_back(self, target: str) -> None:
        """A move that the site refuses in its last moment before the commit, so the copy was whole."""
        words = ("migrate", self.name, "--to", target, *self.mode)
        cluster = str(with_hook(self.stage, REFUSES))
        done = await asyncio.to_thread(self.stage.migrator, *words, cluster=cluster)
        assert done.code == 4, done.err
        assert "ended with 1: not now" in done.err

    async def there_and_back(
        self, load: Load, look: Callable[[], Awaitable[None]] | None = None, answers: int = 5
    ) -> None:
        """To n2 and back under load: each client has `answers` more after each move. Where `look` judges what is there,
        a move back that is rolled back lies between.
        """
        rolled_back = [(self.rolled_back, "n1")] if look is not None else []
        for move, target in ((self.to, "n2"), *rolled_back, (self.to, "n1")):
            await move(target)
            await load.more(answers)
            if look is not None:
                await look()


Make = Callable[..., Actor]


@pytest.fixture(params=[pytest.param(mode, marks=[pytest.mark.full] * (mode in IN_FULL)) for mode in MODES])
def make(request: pytest.FixtureRequest, tidy: Stage) -> Iterator[Make]:
    """Makes a container on n1, with addresses of IPv4 and IPv6: make(name, *command, template=..., more=...)."""

    def made(
        name: str,
        *command: str,
        template: str = "debian",
        more: tuple[str, ...] = ("--memory", "512M"),
    ) -> Actor:
        ips = (tidy.ip(1), tidy.spec.subnet.container_ip6(101))
        addresses = [word for ip in ips for word in ("--ip", ip)]
        tidy.ok("ct", "create", name, "--node", "n1", "--template", template, *addresses, *more, "--", *command)
        return Actor(tidy, name, ips, MODES[request.param])

    yield made
    for row in tidy.ok("ct", "list", "--json").json()["containers"]:
        sys.stdout.write(tidy.migrator("ct", "logs", row["name"]).out)  # shown where a test has failed


@dataclass(frozen=True)
class Clients:
    """The programs' own clients: those of the template, run on this machine."""

    root: str

    def argv(self, *words: str) -> list[str]:
        return ["chroot", self.root, "env", "HOME=/nonexistent", *words]

    async def run(self, *words: str, stdin: str = "") -> str:
        argv = self.argv(*words)
        done = await asyncio.to_thread(
            subprocess.run, argv, input=stdin, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, (words, done.stdout[-500:], done.stderr[-500:])
        return done.stdout


@pytest.fixture(scope="session")
def clients(stage: Stage) -> Iterator[Clients]:
    """The template of programs on the two nodes that its containers are on."""
    template = PROGRAMS.build(print)
    for node in ("n1", "n2"):
        PROGRAMS.offer(stage.paths, node)
    yield Clients(str(template / "rootfs"))
    for node in ("n1", "n2"):
        PROGRAMS.take_back(stage.paths, node)
