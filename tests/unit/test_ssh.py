"""The transport against a real ssh server in the test's own process: quoting, bounds, host keys, retries."""

from __future__ import annotations

import asyncio
import shlex
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path

import asyncssh
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.transport import kit, ssh
from migrator.transport.base import SHELLS, NodeFailed, NodeMissing, NodeRefused, NodeUnreachable, NodeUntrusted
from migrator.transport.ssh import SshAddress, SshNode

Serve = Callable[[asyncssh.SSHServerProcess[str]], object]


class OpenServer(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return False


@pytest.fixture
async def node(tmp_path: Path, answers: Answers) -> AsyncIterator[SshNode]:
    host_key = asyncssh.generate_private_key("ssh-ed25519")
    server = await asyncssh.listen(
        "127.0.0.1", 0, server_host_keys=[host_key], server_factory=OpenServer, process_factory=answers.serve
    )
    port = server.get_port()
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{port} {host_key.export_public_key().decode()}")
    node = SshNode("n1", SshAddress("127.0.0.1", port, "root", known_hosts=str(known)))
    yield node
    await node.close()
    server.close()


class Answers:
    """What the server does with a command: the kit is there or comes when it is sent, the rest is the test's."""

    def __init__(self) -> None:
        self.has_kit, self.kits_sent, self.sessions = True, 0, 0
        self.commands: list[list[str]] = []
        self.act: Callable[[asyncssh.SSHServerProcess[str]], None] = lambda process: process.exit(0)
        self.stand_by: Callable[[asyncssh.SSHServerProcess[str]], Coroutine[None, None, None]] | None = None

    async def serve(self, process: asyncssh.SSHServerProcess[str]) -> None:
        self.sessions += 1
        words = shlex.split(process.command or "")
        if words[:3] == ["sh", "-c", kit.INSTALL]:
            await process.stdin.read()
            self.has_kit, self.kits_sent = True, self.kits_sent + 1
            process.exit(0)
            return
        if words[:2] == ["sh", "-c"] and (words[2] == kit.PRESENT or not self.has_kit):
            process.exit(0 if self.has_kit else 1 if words[2] == kit.PRESENT else kit.ABSENT)
            return
        if words[:3] == ["sh", "-c", kit.IF_PRESENT]:
            words = ["sh", f"{words[4]}/node", *words[5:]]
        if words[2:] == ["stand-by"] and self.stand_by is not None:
            await self.stand_by(process)
            return
        self.commands.append(words)
        self.act(process)


@pytest.fixture
def answers() -> Answers:
    return Answers()


async def test_words_arrive_as_they_were_given(node: SshNode, answers: Answers) -> None:
    words = ["a b", "$(reboot)", "`x`", "'", '"', ";", "--", "-rf", "\n", "ü", "*", "", "x" * 4000]
    await node.call("inspect", *words)
    assert answers.commands[0][2:] == ["inspect", *words]


async def test_a_verb_that_finds_the_kit_needs_no_session_to_ask_for_it(node: SshNode, answers: Answers) -> None:
    await node.call("inspect", "x")
    await node.call("inspect", "y")
    assert (answers.sessions, answers.kits_sent) == (2, 0)


async def test_a_kit_that_is_not_there_is_sent_once_and_each_verb_asked_again_with_all_it_was_given(
    node: SshNode, answers: Answers
) -> None:
    answers.has_kit = False
    took: list[str] = []
    reading: list[asyncio.Future[None]] = []

    def take(process: asyncssh.SSHServerProcess[str]) -> None:
        async def read() -> None:
            took.append(await process.stdin.read())
            process.exit(0)

        reading.append(asyncio.ensure_future(read()))

    answers.act = take
    await asyncio.gather(*(node.call("ct-put", str(n), stdin=b"whole") for n in range(3)))
    assert sorted(words[2:] for words in answers.commands) == [["ct-put", str(n)] for n in range(3)]
    assert (took, answers.kits_sent) == (["whole"] * 3, 1)


def test_a_node_without_the_kit_says_so_by_a_code_of_its_own_and_one_with_it_runs_the_verb(tmp_path: Path) -> None:
    def asked() -> subprocess.CompletedProcess[str]:
        words = ["sh", "-c", kit.IF_PRESENT, "sh", str(tmp_path), "inspect", "a b"]
        return subprocess.run(words, capture_output=True, text=True, check=False)

    assert asked().returncode == kit.ABSENT
    (tmp_path / "node").write_text('echo "$0|$1|$2"; exit 10\n')
    assert (asked().returncode, asked().stdout) == (10, f"{tmp_path}/node|inspect|a b\n")


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=5))
def test_no_argument_is_ever_read_by_a_shell(words: list[str]) -> None:
    line = SshNode("n1", SshAddress("h")).command("sh", "node", *words)
    assert shlex.split(line) == ["sh", "node", *words]


def test_become_puts_sudo_before_the_command() -> None:
    assert SshNode("n1", SshAddress("h", become="sudo")).command("sh", "x y") == "sudo -n -- sh 'x y'"


@pytest.mark.parametrize(("code", "kind"), [(10, NodeRefused), (11, NodeMissing), (12, NodeFailed), (1, NodeFailed)])
async def test_an_exit_code_is_an_error_of_its_kind_with_the_last_line_said(
    node: SshNode, answers: Answers, code: int, kind: type[Exception]
) -> None:
    def act(process: asyncssh.SSHServerProcess[str]) -> None:
        process.stderr.write("noise\nthe \x1b[31mcause\n")
        process.exit(code)

    answers.act = act
    with pytest.raises(kind) as caught:
        await node.call("lease")
    assert str(caught.value) == "node n1: the ?[31mcause"


async def test_a_node_that_answers_without_end_is_cut_off(
    node: SshNode, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "OUTPUT_BYTES_MAX", 10_000)

    def act(process: asyncssh.SSHServerProcess[str]) -> None:
        process.stdout.write("x" * 50_000)
        process.exit(0)

    answers.act = act
    with pytest.raises(NodeFailed, match="more than 10000 bytes"):
        await node.call("probe")


async def test_a_lost_connection_is_tried_again_and_the_verb_asked_again(node: SshNode, answers: Answers) -> None:
    def act(process: asyncssh.SSHServerProcess[str]) -> None:
        if len(answers.commands) == 1:
            process.get_extra_info("connection").abort()
        else:
            process.stdout.write("done yes\n")
            process.exit(0)

    answers.act = act
    answer = await node.call("fence", "web", 2)
    assert answer.get("done") == "yes"
    assert len(answers.commands) == 2


class Shells:
    """Shells that stand ready on the server, and what each was asked. `answer` says what to a line; None ends it."""

    def __init__(self, answers: Answers, answer: Callable[[str], str | None]) -> None:
        self.asked: list[str] = []
        self.open = 0
        self._answer = answer
        answers.stand_by = self.serve

    async def serve(self, process: asyncssh.SSHServerProcess[str]) -> None:
        self.open += 1
        while line := await process.stdin.readline():
            self.asked.append(line.rstrip("\n"))
            said = self._answer(self.asked[-1])
            if said is None:
                break
            process.stdout.write(said)
        self.open -= 1
        process.exit(0)


async def test_in_a_pause_verbs_are_asked_of_shells_that_stand_ready(node: SshNode, answers: Answers) -> None:
    shells = Shells(answers, lambda line: f"asked {line}\n\x1e0 \n")
    async with node.standing_by():
        both = await asyncio.gather(node.call("census", "web"), node.call("job", "web", 2, "dump", "15,0", "r/w"))
        assert [answer.get("asked") for answer in both] == ["census web", "job web 2 dump 15,0 r/w"]
        assert shells.open == SHELLS
    await node.call("inspect", "web")
    assert answers.commands[-1][2:] == ["inspect", "web"]
    assert shells.asked == ["census web", "job web 2 dump 15,0 r/w"]


async def test_what_a_standing_shell_says_of_a_failure_is_an_error_of_its_kind(node: SshNode, answers: Answers) -> None:
    Shells(answers, lambda line: "half an answer\n\x1e10 it may not\n")
    async with node.standing_by():
        with pytest.raises(NodeRefused, match=r"^node n1: it may not$"):
            await node.call("seal", "web", 2)


@pytest.mark.parametrize("words", [("a b",), ("$(reboot)",), ("*",), ("",), ("-rf",), ("a\nb",), ("ü",)])
async def test_words_that_a_line_cannot_tell_go_the_ordinary_way(
    node: SshNode, answers: Answers, words: tuple[str, ...]
) -> None:
    shells = Shells(answers, lambda line: "\x1e0 \n")
    async with node.standing_by():
        await node.call("inspect", *words)
    assert answers.commands[-1][2:] == ["inspect", *words]
    assert shells.asked == []


async def test_a_standing_shell_that_ends_is_no_answer_and_the_verb_is_asked_again(
    node: SshNode, answers: Answers
) -> None:
    shells = Shells(answers, lambda line: None)
    async with node.standing_by():
        await node.call("seal", "web", 2)
    assert shells.asked == ["seal web 2"]
    assert answers.commands[-1][2:] == ["seal", "web", "2"]


async def test_shells_that_stand_ready_leave_sessions_for_others(node: SshNode, answers: Answers) -> None:
    Shells(answers, lambda line: "\x1e0 \n")
    for _ in range(ssh.SESSIONS_MAX):
        async with node.standing_by(), node.standing_by():
            await node.call("seal", "web", 2)
    await asyncio.gather(*(node.call("inspect", "web") for _ in range(2 * ssh.SESSIONS_MAX)))


async def test_a_refusal_is_never_tried_again(node: SshNode, answers: Answers) -> None:
    answers.act = lambda process: process.exit(10)
    with pytest.raises(NodeRefused):
        await node.call("lease")
    assert len(answers.commands) == 1


async def test_a_connection_that_was_begun_is_the_one_that_is_used(node: SshNode, answers: Answers) -> None:
    node.begin()
    begun = node._begun
    assert begun is not None
    await asyncio.gather(node.call("inspect"), node.call("inspect"))
    assert node._connection is begun.result()
    assert len(answers.commands) == 2


async def test_how_a_begun_connection_failed_is_told_to_who_asks_first_and_it_is_tried_again_then(
    node: SshNode, answers: Answers
) -> None:
    async def fails(verb: str) -> asyncssh.SSHClientConnection:
        raise NodeUnreachable("n1", verb, "cannot connect")

    usual, node._connect = node._connect, fails  # type: ignore[method-assign]
    node.begin()
    await asyncio.sleep(0)
    node._connect = usual  # type: ignore[method-assign]
    with pytest.raises(NodeUnreachable):
        await node.call("inspect", tries=1)
    await node.call("inspect", tries=1)
    assert len(answers.commands) == 1


async def test_a_begun_connection_that_nobody_used_is_closed_with_its_node(node: SshNode) -> None:
    node.begin()
    begun = node._begun
    assert begun is not None
    await asyncio.wait([begun])
    await node.close()
    assert begun.result().is_closed()
    node.begin()
    await node.close()  # while it is being made
    assert node._connection is None


async def test_an_unknown_host_key_is_refused_with_what_to_do(node: SshNode, tmp_path: Path) -> None:
    other = tmp_path / "others"
    other.write_text("")
    stranger = SshNode("n1", SshAddress("127.0.0.1", node.address.port, "root", known_hosts=str(other)))
    with pytest.raises(NodeUntrusted, match=r"host key of 127\.0\.0\.1 is not known or has changed.*others"):
        await stranger.call("probe")


async def test_a_changed_host_key_is_refused(node: SshNode, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    key = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    changed.write_text(f"[127.0.0.1]:{node.address.port} {key}")
    stranger = SshNode("n1", SshAddress("127.0.0.1", node.address.port, "root", known_hosts=str(changed)))
    with pytest.raises(NodeUntrusted):
        await stranger.call("probe")


async def test_nobody_listening_is_an_unreachable_node() -> None:
    silent = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    silent.close()
    await silent.wait_closed()
    node = SshNode("n9", SshAddress("127.0.0.1", port, "root"))
    with pytest.raises(NodeUnreachable, match=r"node n9: cannot connect to 127\.0\.0\.1: Connection refused$"):
        await node.call("probe", tries=1)
