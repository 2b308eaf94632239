"""`migrator template` where no node is asked: what it says, and with which exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from migrator.cli.main import _run
from tests.unit.test_template_sources import put, row, tar_of


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MIGRATOR_TEMPLATES", str(tmp_path / "store"))
    monkeypatch.delenv("MIGRATOR_CLUSTER", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "store"


def test_a_template_is_built_listed_and_removed(
    tmp_path: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path, tar_of(row("a", data=b"one"), row("su", data=b"two", mode=0o4755)))
    assert _run(["template", "build", "t", "source.tar"]) == 0
    assert "template t built: " in capsys.readouterr().out
    assert _run(["template", "build", "t", "source.tar", "--json"]) == 0
    built = json.loads(capsys.readouterr().out)
    assert (built["new"], built["bytes"], built["names"], built["arch"]) == (False, 6, 3, "any")
    assert _run(["template", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [(found["name"], found["digest"]) for found in listed["store"]] == [("t", built["digest"])]
    assert _run(["template", "rm", "t"]) == 0
    assert [path for path in store.rglob("*") if path.is_file() and path.name != "lock"] == []


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("UPPER", "good.tar"), 2, "not a template's name"),
        (("../x", "good.tar"), 2, "not a template's name"),
        (("t", "absent.tar"), 2, "there is no such file"),
        (("t", ""), 2, "give a SOURCE, or --suite"),
        (("t", "x" * 5000), 2, "File name too long"),
        (("t",), 2, "give a SOURCE, or --suite"),
        (("t", "good.tar", "--suite", "trixie"), 2, "give a SOURCE, or --suite"),
        (("t", "good.tar", "--mirror", "x"), 2, "--mirror and --include go with --suite"),
        (("t", "--suite", "../../x"), 2, "not a suite's name"),
        (("t", "--suite", "trixie", "--include", "-o=x"), 2, "not a package's name"),
        (("t", "good.tar", "--setuid", "refuse"), 3, "'su' is setuid or setgid"),
        (("t", "good.tar", "--as", "directory"), 2, "is none"),
        (("t", "good.tar", "--as", "image"), 2, "it is no image"),
        (("t", ".", "--as", "tar"), 2, "'.' is a directory"),
        (("t", "/dev/null"), 2, "is neither a file nor a directory"),
        (("t", "good.tar", "--ref", "web:1"), 2, "is no image, but a tar"),
        (("t", "--suite", "trixie", "--ref", "web:1"), 2, "--ref goes with an image"),
        (("t", "--suite", "trixie", "--arch", "riscv64"), 2, "a suite is made for this machine's own"),
        (("t", "bad.tar"), 2, "leads out of it"),
        (("t", "device.tar"), 3, "device node"),
    ],
)
def test_what_cannot_be_built_is_one_line_and_leaves_nothing(
    tmp_path: Path, store: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: int, said: str
) -> None:
    put(tmp_path, tar_of(row("su", data=b"x", mode=0o4755)), "good.tar")
    put(tmp_path, tar_of(row("a", data=b"x"), row("../b", data=b"x")), "bad.tar")
    put(tmp_path, tar_of(row("dev/x", b"3")), "device.tar")
    assert _run(["template", "build", *words]) == code
    shown = capsys.readouterr()
    assert (shown.out, said in shown.err, shown.err.count("\n")) == ("", True, 1)
    assert [path for path in store.rglob("*") if path.is_file() and path.name != "lock"] == []


def test_gc_and_rm_of_what_is_not_there_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["template", "gc", "--local"]) == 0
    assert capsys.readouterr().out == "nothing to remove\n"
    assert _run(["template", "rm", "t"]) == 2
    assert "there is no template 't'" in capsys.readouterr().err


def test_rm_of_a_version_without_its_digest_is_refused_and_is_not_one_of_all_versions(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _run(["template", "rm", "web@", "n1"]) == 2
    assert "no digest follows the @" in capsys.readouterr().err
