"""Who a container's command runs as: by its own /etc/passwd, however that ends."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from migrator.runtime import bundle

# Without a newline at its end.
PASSWD = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\napp:x:33:44::/:/bin/sh"
SHOW = ("sh", "-c", 'echo "$(id -u) $(id -g) $(id -G)"')


def become(tmp_path: Path, user: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "passwd").write_text(PASSWD)
    words = bundle.AS_USER.replace("/etc/passwd", str(tmp_path / "passwd")).replace("--init-groups", "--clear-groups")
    return subprocess.run(
        ["sh", "-c", words, "sh", user, *SHOW], capture_output=True, text=True, check=False, timeout=30
    )


@pytest.mark.parametrize(
    ("user", "ids"),
    [
        ("app", "33 44"),
        ("33", "33 44"),
        ("33:44", "33 44"),
        ("nobody", "65534 65534"),
        ("1000", "1000 1000"),
        ("33:5", "33 5"),
    ],
)
def test_a_user_is_found_by_name_or_number_on_the_last_line_too(tmp_path: Path, user: str, ids: str) -> None:
    assert become(tmp_path, user).stdout == f"{ids} {ids.split()[1]}\n"


@pytest.mark.parametrize("user", ["other", "ap", "x"])
def test_a_name_that_is_not_there_becomes_nobody_else(tmp_path: Path, user: str) -> None:
    done = become(tmp_path, user)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"user {user} is not in" in done.stderr
