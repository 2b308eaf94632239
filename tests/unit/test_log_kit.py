"""The log that a container owns: only its end is read, however large it is, and its words are only words."""

from __future__ import annotations

import subprocess
from pathlib import Path

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


def test_one_that_has_no_log_is_told_without(tmp_path: Path) -> None:
    (tmp_path / "web/upper").mkdir(parents=True)
    assert told(tmp_path, "ended_at_once web") == "ended at once: it has written no word\n"
