"""Subprocesses of the lab: argv lists, a time-out on every one, and errors that say which command failed."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from migrator.errors import MigratorError


class LabError(MigratorError):
    """The lab could not do something; its message is the one line to show."""

    exit_code = 4


def run(
    argv: Sequence[str | Path],
    *,
    timeout_s: float = 60,
    check: bool = True,
    what: str = "",
    stdin: str | None = None,
    log: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs one command to its end. `what` names the act in the error; `log` takes the output when it is long."""
    words = [str(word) for word in argv]
    act = what or " ".join(words[:4])
    try:
        if log is None:
            done = subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False)
        else:
            with log.open("a") as out:
                done = subprocess.run(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    text=True,
                    timeout=timeout_s,
                    check=False,
                )
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{act}: no end after {timeout_s:.0f} s") from error
    except FileNotFoundError as error:
        raise LabError(f"{act}: {words[0]} is not installed; run tools/setup") from error
    if check and done.returncode != 0:
        raise LabError(f"{act}: {_last_words(done, log)}")
    return done


def _last_words(done: subprocess.CompletedProcess[str], log: Path | None) -> str:
    """The line of the output that most likely names the cause."""
    text = log.read_text(errors="replace") if log is not None else (done.stderr or done.stdout or "")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("E:", "Error", "error"))]
    said = (errors or lines or [f"exit {done.returncode}"])[-1]
    return f"{said} (log: {log})" if log is not None else said
