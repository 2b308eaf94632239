"""A node that lies gets a clear error of one line: never a traceback, never memory without end, never a wrong act."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import asyncssh
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from migrator.cli.output import fail
from migrator.errors import FailedSafe, MigratorError
from migrator.executor.look import observe
from migrator.inventory import snapshot
from migrator.inventory.cluster_file import NodeEntry
from migrator.inventory.probe import parse
from migrator.model.facts import Cluster, ContainerFacts, NodeFacts, Resources
from migrator.runtime import bundle
from migrator.steps import seed
from migrator.transport import ssh
from migrator.transport.base import Answer, NodeFailed, NodeUnreachable
from migrator.transport.ssh import SshNode
from tests.unit.test_bundle import WEB
from tests.unit.test_probe import GOOD
from tests.unit.test_saga import Scene, scene  # noqa: F401
from tests.unit.test_ssh import Answers, answers, node  # noqa: F401

ESCAPE = "\x1b]0;owned\x07\x1b[2J"
DESCRIPTOR = f"descriptor web {bundle.descriptor_json(WEB).decode()}"
INSPECTED = """\
floor 0
state held
token 3
generation 1
run r
role target
memory_bytes 5
same_boot yes
processes frozen
gate closed
held yes
"""


def probed(text: str) -> NodeFacts:
    return parse(Answer("n1", "probe", text), NodeFacts("n1"), NodeEntry(name="n1"))


def described(**lies: object) -> str:
    return GOOD.replace(DESCRIPTOR, f"descriptor web {json.dumps({**asdict(WEB), **lies})}")


@pytest.mark.parametrize(
    "lie",
    [
        {"address": "10.0.0.7/24\nveth eth0"},
        {"address": "10.0.0.7/24 veth"},
        {"address": "10.0.0.7"},
        {"address": "::1/64"},
        {"gateway": "10.0.0.1\nbridge br9"},
        {"gateway": "10.0.0.1/24"},
        {"id_index": 0},
        {"id_index": 15},
        {"id_index": -1},
        {"id_index": 10**9},
        {"template": "../../../etc"},
        {"template_digest": "x y"},
        {"user": "-x"},
        {"user": "a b"},
        {"memory_bytes": -1},
        {"memory_bytes": 10**17},
        {"cpu_milli": -5},
        {"command": []},
        {"command": [""]},
        {"command": ["a\0b"]},
        {"env": ["no sign"]},
        {"env": ["A=\0"]},
        {"version": 2},
    ],
    ids=str,
)
def test_a_description_that_no_container_can_have_is_refused(lie: dict[str, object]) -> None:
    with pytest.raises(
        NodeFailed, match=f"the descriptor of container web has a {next(iter(lie))} that is not possible"
    ):
        probed(described(**lie))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("kernel 6.1", f"kernel {ESCAPE}", "control characters"),
        ("boot_id b", "boot_id b\nhostname a\u202eb", "control characters"),
        ("boot_id b", f"boot_id b\ncordon {ESCAPE}", "control characters"),
        ("memory_bytes 8000", "memory_bytes 8000\nmemory_bytes 9000", "tells 'memory_bytes' twice"),
        ("holds web 268435456 500", "holds web 1 1 1\nholds web 268435456 500", "tells 'holds web' twice"),
        (
            "container web serving",
            "container web sealed 1 1 no -\ncontainer web serving",
            "tells 'container web' twice",
        ),
        (DESCRIPTOR, f"{DESCRIPTOR}\n{DESCRIPTOR}", "tells 'descriptor web' twice"),
        ("container web serving", "container web flying", "what nobody understands"),
        ("3 2 yes -", "3 2 maybe -", "what nobody understands"),
        ("3 2 yes -", "3 2 yes ../r", "what nobody understands"),
        ("3 2 yes -", "9999999999999999 2 yes -", "where a number should be"),
        ("3 2 yes -", "3 99999999999999999 yes -", "where a number should be"),
        ("criu 4.2.1", f"criu {'9' * 5000}", "without end"),
    ],
)
def test_a_lie_in_a_probe_is_one_clear_error(old: str, new: str, said: str) -> None:
    assert old in GOOD
    with pytest.raises(NodeFailed, match=said) as caught:
        probed(GOOD.replace(old, new, 1))
    assert str(caught.value).isprintable()


@given(st.integers(0, len(GOOD)), st.text(st.characters(), max_size=8), st.integers(0, 8))
def test_a_damaged_probe_is_an_error_or_facts_and_never_a_crash(at: int, noise: str, cut: int) -> None:
    try:
        probed(GOOD[:at] + noise + GOOD[at + cut :])
    except MigratorError as error:
        assert str(error).isprintable()


@pytest.mark.parametrize("digit", ["²", "٣", "①"])
def test_digits_of_other_scripts_are_no_numbers(digit: str) -> None:
    assert probed(GOOD.replace("cgroup 2", f"cgroup {digit}")).cgroup_version == 0
    with pytest.raises(NodeFailed):
        probed(GOOD.replace("cpus 4", f"cpus {digit}"))


def test_a_truncated_probe_is_said_to_be_one() -> None:
    for at in range(0, len(GOOD) - 1, 7):
        with pytest.raises(NodeFailed, match="cut short"):
            probed(GOOD[:at])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("state held", "state flying"),
        ("state held\n", ""),
        ("processes frozen", "processes perhaps"),
        ("processes frozen\n", ""),
        ("same_boot yes\n", ""),
        ("gate closed", f"gate {ESCAPE}"),
        ("token 3", "token -3"),
        ("token 3", "token 3e9"),
    ],
)
def test_a_container_in_a_state_that_nobody_knows_decides_nothing(old: str, new: str) -> None:
    with pytest.raises(NodeFailed) as caught:
        observe(Answer("n1", "inspect", INSPECTED.replace(old, new)))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(("old", "new"), [("floor 0", f"floor {10**17 - 1}"), ("token 3", f"token {10**15 + 1}")])
def test_a_counter_that_no_node_ever_reaches_is_refused_before_it_is_written_down(old: str, new: str) -> None:
    with pytest.raises(NodeFailed, match=f"n1: it tells of a {old.partition(' ')[0]} that no node ever reaches"):
        observe(Answer("n1", "inspect", INSPECTED.replace(old, new)))


def test_a_node_that_tells_all_is_understood() -> None:
    seen = observe(Answer("n1", "inspect", INSPECTED))
    assert (seen.state, seen.token, seen.processes, seen.held) == ("held", 3, "frozen", True)


@pytest.mark.parametrize(
    ("side", "verb", "answer"),
    [
        ("source", "keygen", "key ssh-ed25519 AAAA\naddress 0.0.0.0/0\n"),
        ("source", "keygen", "key ssh-ed25519 AAAA\naddress *\n"),
        ("source", "keygen", 'key ssh-ed25519 AAAA\naddress fe80::1%e",command="id\n'),
        ("source", "keygen", "key ssh-ed25519 AAAA\n"),
        ("source", "keygen", "key ssh-ed25519 AAAA permitopen\naddress 192.0.2.1\n"),
        ("source", "keygen", 'key ssh-ed25519 AAAA",pty\naddress 192.0.2.1\n'),
        ("source", "keygen", 'key command="id" AAAA\naddress 192.0.2.1\n'),
        ("source", "keygen", "address 192.0.2.1\n"),
        ("target", "admit", "user -oProxyCommand=id\n"),
        ("target", "admit", "user root@10.0.0.1 -p\n"),
        ("target", "admit", "user \n"),
        ("target", "admit", ""),
    ],
)
async def test_a_node_writes_no_options_into_the_others_ssh(
    scene: Scene,  # noqa: F811
    side: str,
    verb: str,
    answer: str,
) -> None:
    getattr(scene, side).instead[verb] = lambda: answer
    with pytest.raises(FailedSafe, match="web runs on n1 as before"):
        await scene.run()
    assert "n1 link" not in scene.calls
    assert verb == "admit" or "n2 admit" not in scene.calls


@given(st.text(), st.text())
def test_what_a_source_calls_its_key_is_one_word_or_an_error(kind: str, rest: str) -> None:
    try:
        words = seed._public_key(Answer("n1", "keygen", f"key {kind} {rest}\n"))
    except NodeFailed:
        return
    assert words[0] == "ssh-ed25519"
    assert not set(words[1]) & set(' "\n,\t')


@pytest.fixture
def flood() -> dict[str, int]:
    return {"bytes": 0}


def flooding(stream: str, flood: dict[str, int]) -> Callable[[asyncssh.SSHServerProcess[str]], None]:
    async def pour(process: asyncssh.SSHServerProcess[str]) -> None:
        writer = getattr(process, stream)
        try:
            while flood["bytes"] < 1 << 30:
                writer.write("x" * 65536)
                flood["bytes"] += 65536
                await writer.drain()
        except (OSError, asyncssh.Error):
            return

    tasks = []
    return lambda process: tasks.append(asyncio.ensure_future(pour(process)))


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
async def test_a_gigabyte_without_a_newline_is_cut_off_and_never_held_in_memory(
    node: SshNode,  # noqa: F811
    answers: Answers,  # noqa: F811
    flood: dict[str, int],
    stream: str,
) -> None:
    answers.act = flooding(stream, flood)
    with pytest.raises(NodeFailed, match=f"answered more than {ssh.OUTPUT_BYTES_MAX} bytes"):
        await node.call("probe")
    assert flood["bytes"] < 4 * ssh.OUTPUT_BYTES_MAX
    answers.act = lambda process: process.exit(0)
    await node.call("probe")  # and the node is asked again as if nothing had been


async def test_an_answer_that_trickles_for_ever_ends_at_the_time_out(
    node: SshNode,  # noqa: F811
    answers: Answers,  # noqa: F811
) -> None:
    async def trickle(process: asyncssh.SSHServerProcess[str]) -> None:
        while not process.is_closing():
            process.stdout.write("x")
            await asyncio.sleep(0.01)

    tasks = []
    answers.act = lambda process: tasks.append(asyncio.ensure_future(trickle(process)))
    with pytest.raises(NodeUnreachable, match="no answer in"):
        await node.call("probe", timeout_s=0.3, tries=1)
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_command_that_closes_its_output_and_never_ends_is_given_up(
    node: SshNode,  # noqa: F811
    answers: Answers,  # noqa: F811
) -> None:
    answers.act = lambda process: process.channel.write_eof()
    with pytest.raises(NodeUnreachable, match="no answer in"):
        await node.call("probe", timeout_s=0.3, tries=1)


async def test_bytes_that_are_no_text_are_an_answer_like_another(
    node: SshNode,  # noqa: F811
    answers: Answers,  # noqa: F811
) -> None:
    def act(process: asyncssh.SSHServerProcess[str]) -> None:
        process.channel.set_encoding(None)
        process.channel.write(b"end \xff\xfe\0\n")  # type: ignore[arg-type]
        process.exit(0)

    answers.act = act
    assert (await node.call("probe")).get("end").startswith("\ufffd")


async def test_the_operators_agent_is_never_lent_to_a_node(
    node: SshNode,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: dict[str, object] = {}

    async def connect(host: str, **options: object) -> object:
        given.update(options)
        raise OSError("far away")

    monkeypatch.setattr(asyncssh, "connect", connect)
    with pytest.raises(NodeUnreachable):
        await node.call("probe", tries=1)
    assert (given["agent_forwarding"], given["x11_forwarding"]) == (False, False)


@given(st.text())
def test_no_error_reaches_a_terminal_with_more_than_text(text: str) -> None:
    assert str(NodeFailed("n1", "probe", text)).isprintable()


def test_an_error_is_one_line_of_text(capsys: pytest.CaptureFixture[str]) -> None:
    fail(f"cordoned by {ESCAPE}\nand so on", 3, as_json=False)
    said = capsys.readouterr().err
    assert said.endswith("\n")
    assert said[:-1].isprintable()


def test_what_a_container_wrote_is_text_on_a_terminal_and_exact_in_json(monkeypatch: pytest.MonkeyPatch) -> None:
    from migrator.cli import ct

    def answered(work: object, only_looks: bool) -> str:
        work.close()  # type: ignore[attr-defined]
        return f"a\tb\n{ESCAPE}\u202e\n\nend"

    monkeypatch.setattr(ct, "run_async", answered)
    plain = CliRunner().invoke(ct.logs, ["web"], obj={"cluster": None, "journal": None}).output
    assert plain == "a\tb\n?]0;owned??[2J?\n\nend\n"
    exact = CliRunner().invoke(ct.logs, ["web", "--json"], obj={"cluster": None, "journal": None}).output
    assert json.loads(exact)["lines"] == ["a\tb", f"{ESCAPE}\u202e", "", "end"]
    assert "\x1b" not in exact


@pytest.mark.parametrize(("written", "shown"), [("", ""), ("\n", "\n"), ("a", "a\n"), ("a\n", "a\n")])
def test_a_log_is_shown_line_by_line_and_an_empty_one_not_at_all(
    monkeypatch: pytest.MonkeyPatch, written: str, shown: str
) -> None:
    from migrator.cli import ct

    def answered(work: object, only_looks: bool) -> str:
        work.close()  # type: ignore[attr-defined]
        return written

    monkeypatch.setattr(ct, "run_async", answered)
    assert CliRunner().invoke(ct.logs, ["web"], obj={"cluster": None, "journal": None}).output == shown


def test_a_snapshot_with_an_impossible_container_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    bad = replace(WEB, id_index=0)
    facts = ContainerFacts("web", "serving", 1, 1, True, "-", Resources(), descriptor=bad)
    snapshot.save(Cluster("c", (NodeFacts("n1", containers=(facts,)),)), path)
    with pytest.raises(MigratorError, match="id_index \\(container web, node n1\\): is to be from 16 to 64999, not 0"):
        snapshot.load(path)
