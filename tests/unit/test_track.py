"""Which files have changed, as the node notes it for the last pass: every difference is told, and nothing outside."""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import cast

import pytest

from migrator.transport.kit import SCRIPTS

PROGRAM = SCRIPTS / "track.py"
Seen = dict[str, tuple[object, ...]]


@pytest.fixture(scope="module")
def track() -> ModuleType:
    spec = importlib.util.spec_from_file_location("track", PROGRAM)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Watched:
    """A tree that is its own upper layer, and whoever notes what changes in it."""

    def __init__(self, base: Path) -> None:
        self.move, self.top = base / "move", base / "top"
        self.move.mkdir()
        self.top.mkdir()
        os.mkfifo(self.move / "listed")
        self._answer = os.open(self.move / "listed", os.O_RDWR | os.O_NONBLOCK)
        (self.move / "changed").touch()

    def begin(self) -> None:
        words = (sys.executable, "-ESsB", str(PROGRAM), str(self.move), str(self.top), str(self.top))
        self._process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        while not (self.move / "tracking").exists():
            assert self._process.poll() is None, self._process.communicate()

    def end(self) -> tuple[str, set[str]]:
        """Its answer, and the names that it tells."""
        (self.move / "list-now").touch()
        self._process.communicate(timeout=20)
        names = (self.move / "changed").read_bytes().split(b"\0")
        assert all(name.startswith(b"./") for name in names if name)  # or rsync would take "#x" for a comment
        return os.read(self._answer, 100).decode(), {os.fsdecode(name[2:]) for name in names if name}

    def seen(self) -> Seen:
        """What rsync would compare and send, of everything in the tree."""
        seen: Seen = {}
        for path in self.top.rglob("*"):
            found = path.lstat()
            size = () if path.is_dir() and not path.is_symlink() else (found.st_size, found.st_mtime_ns, found.st_ino)
            seen[str(path.relative_to(self.top))] = (found.st_mode, found.st_uid, *size)
        return seen


@pytest.fixture
def tree(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def differences(before: Seen, after: Seen) -> set[str]:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def is_told(name: str, told: set[str], after: Seen) -> bool:
    """By its own name; or with all that is in its directory; or it is gone, and where a directory above it was there is
    something else now, or nothing, and that is told.
    """
    above = [str(path) for path in Path(name).parents][:-1]
    if name in told or (above and f"{above[0]}/" in told):
        return True
    stale = [path for path in above if path in told or f"{path.rpartition('/')[0]}/" in told]
    return name not in after and any(not is_directory(after.get(path)) for path in stale)


def is_directory(seen: tuple[object, ...] | None) -> bool:
    return seen is not None and stat.S_ISDIR(cast(int, seen[0]))


def test_names_that_change_are_told_with_their_directories_and_no_others(
    tree: Watched,
) -> None:
    (tree.top / "a/b").mkdir(parents=True)
    for name in ("rest", "a/log", "a/gone", "a/b/old", "a/mode"):
        (tree.top / name).write_text("x")
    tree.begin()
    (tree.top / "a/log").write_text("more")
    (tree.top / "a/gone").unlink()
    (tree.top / "a/mode").chmod(0o600)
    (tree.top / "a/b/old").rename(tree.top / "new\nname")
    (tree.top / "made/in/one").mkdir(parents=True)
    (tree.top / "made/in/one/go").symlink_to("/etc/passwd")
    answer, told = tree.end()
    assert answer == "listed\n"
    made = {"made", "made/", "made/in", "made/in/", "made/in/one", "made/in/one/", "made/in/one/go"}
    assert told == {".", "a", "a/log", "a/gone", "a/mode", "a/b", "a/b/old", "new\nname", *made}


def test_of_a_directory_that_was_moved_all_is_told_and_what_changes_in_it_by_its_new_name(tree: Watched) -> None:
    (tree.top / "old/below").mkdir(parents=True)
    (tree.top / "old/below/kept").write_text("x")
    tree.begin()
    (tree.top / "old").rename(tree.top / "new")
    (tree.top / "new/below/later").write_text("y")
    (tree.top / "old").mkdir()
    (tree.top / "old/again").write_text("z")
    _, told = tree.end()
    assert "old/" in told  # what was in the other one has to go
    assert {"old", "old/again", "new", "new/below", "new/below/kept", "new/below/later"} <= told


def test_a_name_behind_a_link_is_not_told_for_rsync_would_follow_it(tree: Watched, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("x")
    (tree.top / "d").mkdir()
    (tree.top / "d/secret").write_text("y")
    tree.begin()
    (tree.top / "d/secret").write_text("z")
    shutil.rmtree(tree.top / "d")
    (tree.top / "d").symlink_to(outside)
    (outside / "secret").write_text("other")
    answer, told = tree.end()
    assert (answer, told) == ("listed\n", {".", "d"})


def test_a_changed_file_with_several_names_needs_a_walk_and_one_that_rests_does_not(tree: Watched) -> None:
    (tree.top / "one").write_text("x")
    os.link(tree.top / "one", tree.top / "two")
    tree.begin()
    (tree.top / "other").write_text("y")
    assert tree.end() == ("listed\n", {".", "other"})


def test_a_new_name_for_a_file_needs_a_walk(tree: Watched) -> None:
    (tree.top / "one").write_text("x")
    tree.begin()
    os.link(tree.top / "one", tree.top / "two")
    answer, told = tree.end()
    assert (answer, told) == ("walk\n", set())
    assert not (tree.move / "tracking").exists()


def test_lost_events_and_too_many_names_need_a_walk(
    track: ModuleType, tree: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        (tree.top / name).write_text("x")
    tracker = track.Tracker(str(tree.top), str(tree.move))
    lost = track.HEAD.pack(-1, track.OVERFLOW, 0, 0)
    monkeypatch.setattr(track.os, "read", lambda fd, size: lost)
    (tree.top / "a").write_text("y")  # so that there is something to read
    with pytest.raises(track.Untold, match="lost"):
        tracker.until_asked()
    monkeypatch.setattr(track, "NAMES_MAX", 2)
    with pytest.raises(track.Untold, match="too many"):
        tracker.add("", told=True)
    os.close(tracker.fd)


def test_events_are_read_one_behind_the_other_with_names_of_any_bytes(track: ModuleType) -> None:
    name = "ü\udcff".encode(errors="surrogateescape")
    data = track.HEAD.pack(7, track.CREATE, 0, 16) + name.ljust(16, b"\0") + track.HEAD.pack(8, track.IGNORED, 0, 0)
    assert list(track.events(data)) == [(7, track.CREATE, os.fsdecode(name)), (8, track.IGNORED, "")]


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_to_a_tree_every_difference_is_told(tree: Watched, seed: int) -> None:
    chance = random.Random(seed)
    for at in range(40):
        (tree.top / f"d{at % 4}/e{at % 3}").mkdir(parents=True, exist_ok=True)
        (tree.top / f"d{at % 4}/e{at % 3}/f{at}").write_text("x")
    tree.begin()
    before = tree.seen()
    for turn in range(300):
        act(tree.top, chance, turn)
    after = tree.seen()
    answer, told = tree.end()
    assert answer == "listed\n"
    untold = {name for name in differences(before, after) if not is_told(name, told, after)}
    assert untold == set()


def act(top: Path, chance: random.Random, turn: int) -> None:
    """Something that a program does to a file or a directory."""
    paths = sorted(top.rglob("*"))
    directories = [top, *(path for path in paths if path.is_dir() and not path.is_symlink())]
    path, into = chance.choice(paths or [top]), chance.choice(directories)
    match chance.randrange(8):
        case 0:
            (into / f"n{turn}").write_text("new")
        case 1:
            (into / f"m{turn % 5}/deep").mkdir(parents=True, exist_ok=True)
        case 2 if path.is_file() and not path.is_symlink():
            path.write_text("w" * turn)
        case 3 if path.is_file() or path.is_symlink():
            path.unlink()
        case 4 if path != top and path not in (into, *into.parents):
            path.rename(into / f"r{turn}")
            if chance.random() < 0.5:
                path.mkdir()
        case 5:
            path.chmod(0o700 + turn % 8) if not path.is_symlink() else None
        case 6 if path.is_dir() and not path.is_symlink() and path.parent != top:
            shutil.rmtree(path)
        case 7:
            (into / f"l{turn}").symlink_to(top.parent)
        case _:
            pass
