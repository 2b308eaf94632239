"""A site's hooks as processes: what they get, and what becomes of one that fails, hangs or leaves something behind."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from migrator.model.site import Hook, When
from migrator.transport.hooks import OUTPUT_BYTES_MAX, HookFailed, LocalHooks


def hook(tmp_path: Path, script: str, *words: str, timeout_s: float = 20) -> Hook:
    program = tmp_path / "hook"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return Hook((str(program), *words), frozenset(When), timeout_s)


async def call(asked: Hook, document: bytes = b"{}\n") -> None:
    await LocalHooks().call(asked, document)


async def test_a_hook_gets_its_words_as_they_are_and_the_document_on_stdin(tmp_path: Path) -> None:
    asked = hook(tmp_path, f'printf "%s|" "$@" > {tmp_path}/words; cat > {tmp_path}/stdin', "a b", "$(reboot)", "*")
    await call(asked, json.dumps({"phase": "x"}).encode())
    assert (tmp_path / "words").read_text() == "a b|$(reboot)|*|"
    assert json.loads((tmp_path / "stdin").read_text()) == {"phase": "x"}


async def test_a_hook_has_a_small_environment_and_a_session_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIGRATOR_JOURNAL", "/secret")
    await call(hook(tmp_path, f"env > {tmp_path}/env; cut -d' ' -f6 /proc/self/stat > {tmp_path}/session; pwd >> $0.d"))
    names = {line.partition("=")[0] for line in (tmp_path / "env").read_text().splitlines()}
    assert names - {"PWD", "OLDPWD", "SHLVL", "_"} == {"PATH", "LANG", "HOME"}
    assert int((tmp_path / "session").read_text()) != os.getsid(0)
    assert (tmp_path / "hook.d").read_text() == "/\n"


async def test_a_hook_need_not_read_what_it_is_told(tmp_path: Path) -> None:
    await call(hook(tmp_path, "exit 0"), b"x" * 1_000_000)


async def test_what_a_failing_hook_says_is_shown_from_its_end_and_bounded(tmp_path: Path) -> None:
    talks = (
        "i=0; while [ $i -lt 3000 ]; do echo 'all of this is too much to show'; i=$((i+1)); done; echo why >&2; exit 3"
    )
    with pytest.raises(HookFailed) as failed:
        await call(hook(tmp_path, talks))
    assert "hook ended with 3: " in str(failed.value)
    assert str(failed.value).endswith(" why")
    assert len(str(failed.value)) < OUTPUT_BYTES_MAX + 200


async def test_a_hook_that_is_overdue_is_ended_with_all_it_has_begun(tmp_path: Path) -> None:
    asked = hook(tmp_path, f"echo begun; sleep 1000 & echo $! > {tmp_path}/child; wait", timeout_s=1)
    with pytest.raises(HookFailed, match="has not ended after 1 s, and was ended: begun"):
        await call(asked)
    await gone(int((tmp_path / "child").read_text()))


async def test_a_hook_whose_caller_is_cancelled_is_ended(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "begun")
    task = asyncio.create_task(call(hook(tmp_path, f"echo $$ > {tmp_path}/begun; sleep 1000")))
    pid = int(await asyncio.to_thread((tmp_path / "begun").read_text))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await gone(pid)


async def test_what_a_hook_leaves_running_is_not_waited_for(tmp_path: Path) -> None:
    await call(hook(tmp_path, f"sleep 1000 & echo $! > {tmp_path}/child"))
    os.kill(int((tmp_path / "child").read_text()), 9)


async def test_a_hook_that_cannot_be_run_says_why(tmp_path: Path) -> None:
    asked = hook(tmp_path, "exit 0")
    assert LocalHooks().fault(asked) == ""
    program(asked).chmod(0o644)
    with pytest.raises(HookFailed, match="cannot be run: Permission denied"):
        await call(asked)
    program(asked).unlink()
    assert "is not there" in LocalHooks().fault(asked)
    with pytest.raises(HookFailed, match="cannot be run: No such file"):
        await call(asked)


def program(asked: Hook) -> Path:
    return Path(asked.argv[0])


async def gone(pid: int) -> None:
    """Waits until a process has ended."""
    async with asyncio.timeout(20):
        while runs(pid):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def runs(pid: int) -> bool:
    """Whether there is such a process; a zombie is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
