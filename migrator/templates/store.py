"""The local store: contents by their hash, each once for all templates, and a manifest a template.

    STORE/contents/ab/HASH   STORE/templates/NAME   STORE/building/...   STORE/lock

What is built stands aside, under `building`, until it is whole: contents are renamed into place, and the manifest last.
Builders hold the lock shared, and who removes holds it alone, so nothing goes that a build has just counted on.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from migrator.errors import BadInput, FailedSafe, Refused, quoted
from migrator.model.container import NAME
from migrator.model.template import Manifest, head_of, parse

ENVIRONMENT = "MIGRATOR_TEMPLATES"


def default_path() -> Path:
    """$MIGRATOR_TEMPLATES, else the XDG place for data."""
    if given := os.environ.get(ENVIRONMENT):
        return Path(given)
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share"
    return Path(data) / "migrator" / "templates"


@dataclass(frozen=True, slots=True)
class Listed:
    """What the first line of a template's manifest says."""

    name: str
    digest: str
    arch: str
    files_bytes: int
    names: int
    source: str
    built_ms: int


class Store:
    """The store at a directory, which is made when something is first put there."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> list[str]:
        folder = self.root / "templates"
        return sorted(path.name for path in folder.iterdir() if NAME.fullmatch(path.name)) if folder.is_dir() else []

    def listed(self) -> list[Listed]:
        return [found for name in self.names() if (found := self.head(name)) is not None]

    def head(self, name: str) -> Listed | None:
        """What is known of a template, or None where there is none of this name."""
        check_name(name)
        try:
            with (self.root / "templates" / name).open(encoding="ascii", errors="replace") as file:
                head = head_of(file.readline())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise FailedSafe(f"the store of templates {self.root}: {error.strerror}") from None
        numbers = [int(str(head.get(key, 0))) for key in ("bytes", "names", "built_ms")]
        words = [str(head.get(key, "")) for key in ("digest", "arch", "source")]
        return Listed(name, words[0], words[1], numbers[0], numbers[1], words[2], numbers[2])

    def text(self, name: str) -> str:
        """The file of a template's manifest; BadInput where there is none."""
        check_name(name)
        try:
            return (self.root / "templates" / name).read_text("ascii")
        except FileNotFoundError:
            there = ", ".join(self.names()) or "none"
            raise BadInput(f"there is no template {quoted(name)} in {self.root}, which has: {there}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise FailedSafe(f"template {name} in {self.root} cannot be read: {error}") from None

    def manifest(self, name: str) -> Manifest:
        return parse(self.text(name))

    def content(self, digest: str) -> Path:
        return self.root / "contents" / digest[:2] / digest

    @contextlib.contextmanager
    def building(self) -> Iterator[Path]:
        """A place for what is being built; whatever is left in it at the end goes."""
        with self._locked(fcntl.LOCK_SH):
            place = Path(tempfile.mkdtemp(prefix="b", dir=self._folder("building")))
            try:
                yield place
            finally:
                shutil.rmtree(place, ignore_errors=True)

    def put(self, name: str, manifest: Manifest, contents: Path, replace: bool) -> bool:
        """Makes a template of what was built; False where it is there already. Called while it is built."""
        text, has = manifest.text(), self.head(name)
        if has is not None and has.digest == manifest.digest:
            return False
        if has is not None and not replace:
            raise Refused(f"template {name} is in the store as another one (digest {has.digest[:12]}); use --replace")
        for digest in manifest.contents():
            there = self.content(digest)
            if not there.exists():
                there.parent.mkdir(parents=True, exist_ok=True)
                (contents / digest).rename(there)
        part = contents / ".manifest"
        with part.open("w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.rename(self._folder("templates") / name)
        return True

    def remove(self, name: str) -> None:
        """Forgets a template; its contents go with the next `collect`."""
        self.text(name)
        with self._locked(fcntl.LOCK_EX):
            (self.root / "templates" / name).unlink(missing_ok=True)

    def collect(self, really: bool) -> tuple[int, int]:
        """Removes contents that no template refers to and what broken builds left; how many, and their bytes."""
        if not self.root.is_dir():
            return 0, 0
        with self._locked(fcntl.LOCK_EX):
            used = {digest for name in self.names() for digest in self.manifest(name).contents()}
            gone = [path for path in self.root.glob("contents/*/*") if path.name not in used]
            gone += list(left_in(self.root / "building"))
            size = sum(path.lstat().st_size for path in gone)
            if really:
                for path in gone:
                    path.unlink()
                for place in self.root.glob("building/*"):
                    shutil.rmtree(place, ignore_errors=True)
        return len(gone), size

    def _folder(self, name: str) -> Path:
        folder = self.root / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FailedSafe(f"the store of templates {self.root} cannot be made: {error.strerror}") from None
        return folder

    @contextlib.contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        self._folder("")
        with (self.root / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, how | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Refused(
                    f"the store of templates {self.root} is in use by another command; wait for its end"
                ) from None
            yield


def left_in(folder: Path) -> Iterator[Path]:
    """The files of builds that were killed. Refused where something is mounted in one: that is not the store's."""
    for place, folders, names in os.walk(folder):
        for name in folders:
            if (at := Path(place, name)).is_mount():
                raise Refused(f"a build that was killed has left {at} mounted; take that away first: umount {at}")
        yield from (path for name in names if not (path := Path(place, name)).is_symlink())


def check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise BadInput(f"{quoted(name)}: not a template's name (a to z, 0 to 9, - and _, at most 63)")
