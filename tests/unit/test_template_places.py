"""Where a node keeps versions of a template: each in a place that is its alone, whatever its digest is called."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from migrator.transport import kit

# By hand a digest is a word of the operator's; a node tells places apart by how it begins.
WORDS = ("release-2026-01", "release-2026-02", "release-2026-03")
STUBS = (
    "lock() { :; }; unlock() { :; }; read_record() { :; }; check_run() { :; }; receivers_end() { :; }; sync() { :; };"
)


class Disk:
    """A node's disk, of a test's directory, and the kit's verbs on it."""

    def __init__(self, top: Path) -> None:
        self.top, self.templates = top, top / "templates"
        (top / "containers").mkdir()
        self.put("debian", WORDS[0])

    def put(self, place: str, digest: str) -> None:
        (self.templates / place / "rootfs").mkdir(parents=True)
        (self.templates / place / "digest").write_text(f"{digest}\n")

    def sh(self, script: str) -> str:
        prelude = f"set -eu; KIT={kit.SCRIPTS}; . {kit.SCRIPTS}/lib.sh; . {kit.SCRIPTS}/templates.sh; "
        prelude += f". {kit.SCRIPTS}/target.sh; CONTAINERS={self.top}/containers TEMPLATES={self.templates}; {STUBS} "
        done = subprocess.run(["sh", "-c", prelude + script], capture_output=True, text=True, timeout=20, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.strip()

    def find(self, digest: str) -> tuple[bool, str]:
        there, place = self.sh(f"there=no; ! find_template debian {digest} || there=yes; echo $there $place").split()
        return there == "yes", place

    def comes(self, ct: str, digest: str) -> str:
        """A container's template comes with it, as in a move; returns the digest of what it stands on then."""
        _, place = self.find(digest)
        self.put(f".part-{ct}.1", digest)
        (self.top / "containers" / ct).mkdir()
        (self.top / "containers" / ct / "template").write_text(f"{place}\n")
        self.sh(f"verb_template_done {ct} 1 debian {digest}")
        stands = (self.top / "containers" / ct / "template").read_text().strip()
        assert not list(self.templates.glob(".part-*"))
        return (self.templates / stands / "digest").read_text().strip()


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


def test_versions_whose_words_begin_alike_have_places_of_their_own(disk: Disk) -> None:
    assert [disk.comes(f"ct{n}", word) for n, word in enumerate(WORDS)] == list(WORDS)
    assert [disk.comes(f"more{n}", word) for n, word in enumerate(WORDS)] == list(WORDS)
    assert len(list(disk.templates.iterdir())) == 3


def test_one_is_found_again_where_it_was_put_when_others_have_gone(disk: Disk) -> None:
    for n, word in enumerate(WORDS):
        disk.comes(f"ct{n}", word)
    there, place = disk.find(WORDS[2])
    disk.sh("rm -r $TEMPLATES/debian $TEMPLATES/debian@release20260")
    assert (there, disk.find(WORDS[2])) == (True, (True, place))
    assert disk.find(WORDS[1])[0] is False


def test_a_container_does_not_stand_on_what_took_the_place_before_its_own_came(disk: Disk) -> None:
    _, place = disk.find(WORDS[1])
    for ct, word in (("a", WORDS[1]), ("b", WORDS[2])):
        disk.put(f".part-{ct}.1", word)
        (disk.top / "containers" / ct).mkdir()
        (disk.top / "containers" / ct / "template").write_text(f"{place}\n")
        disk.sh(f"verb_template_done {ct} 1 debian {word}")
    stands = [(disk.top / "containers" / ct / "template").read_text().strip() for ct in "ab"]
    assert [(disk.templates / at / "digest").read_text().strip() for at in stands] == [WORDS[1], WORDS[2]]
