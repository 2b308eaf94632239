"""The log that a container owns: only its end is read, however large it is, and its words are only words."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from migrator.transport import kit


def told(tmp_path: Path, words: str) -> str:
    script = f'KIT={kit.SCRIPTS}; . "$KIT/lib.sh"; . "$KIT/container.sh"; CONTAINERS={tmp_path}; {words}'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True, timeout=30)
    return done.stdout


def log(tmp_path: Path) -> Path:
    path = tmp_path / "web/upper/var/log/console.log"
    path.parent.mkdir(parents=True)
    return path


def test_only_the_end_of_a_log_is_read(tmp_path: Path) -> None:
    with log(tmp_path).open("wb") as file:
        file.truncate(1 << 40)
        file.seek(0, 2)
        file.write(b"\nthe last word\n\n")
    assert told(tmp_path, "ended_at_once web") == "ended at once: the last word\n"
    assert len(told(tmp_path, "go_to_log web; own_log 100")) == 100


def test_what_a_container_wrote_adds_no_line_to_an_answer(tmp_path: Path) -> None:
    log(tmp_path).write_text("x\\nthawed before\\c\033[2J\n")
    assert told(tmp_path, "ended_at_once web") == "ended at once: x\\nthawed before\\c[2J\n"
    assert told(tmp_path, f"RUN={tmp_path}; : > $RUN/start.web; start_error web").count("\n") == 1


RUNC = 'time="2026" level=error msg="runc run failed: '


@pytest.mark.parametrize(
    ("said", "is_told"),
    [
        (r'exec: \"/bin/sh\": stat /bin/sh: no such file or directory"', "its template has no /bin/sh, which"),
        (r'error at \"/a\""', 'runc run failed: error at "/a"'),
    ],
)
def test_why_a_runtime_did_not_start_one_is_said_as_people_write_it(tmp_path: Path, said: str, is_told: str) -> None:
    (tmp_path / "start.web").write_text(f"{RUNC}{said}\n")
    assert told(tmp_path, f"RUN={tmp_path}; start_error web said").startswith(f"did not start: {is_told}")


def test_one_that_has_no_log_is_told_without(tmp_path: Path) -> None:
    (tmp_path / "web/upper").mkdir(parents=True)
    assert told(tmp_path, "ended_at_once web") == "ended at once: it has written no word\n"
