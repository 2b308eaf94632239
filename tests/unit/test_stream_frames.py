"""What the programs of streamed memory read and write, without a node: CRIU's images, frames between two nodes."""

from __future__ import annotations

import importlib.util
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from migrator.transport.kit import SCRIPTS
from tests.unit.kit_modules import varint


@pytest.fixture(scope="module")
def programs() -> Iterator[dict[str, ModuleType]]:
    """The node's programs as modules: they import each other by name, as on a node."""
    sys.path.insert(0, str(SCRIPTS))
    loaded = {}
    names = (
        "frames splicer pace plain nearly channel page_server uffd spaces watcher "
        "follow_out follow_in stream_out stream_in"
    )
    for name in names.split():
        spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
        assert spec is not None and spec.loader is not None
        loaded[name] = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded[name])
    yield loaded
    sys.path.remove(str(SCRIPTS))
    for name in loaded:
        del sys.modules[name]


# CRIU's criu/page-xfer.c: command, count of pages, address, process; and two of its commands.
REQUEST = struct.Struct("<IxxxxQQQ")
GET, GOT = 7, 6


def served(programs: dict[str, Any], connection: socket.socket) -> Any:
    """A page server at the other end of a connection."""
    server = programs["page_server"].PageServer.__new__(programs["page_server"].PageServer)
    server._socket = connection
    return server


def message(**fields: int) -> bytes:
    return b"".join(varint(int(key[1:]) << 3) + varint(value) for key, value in fields.items())


def image(*messages: bytes) -> bytes:
    return b"\x00" * 8 + b"".join(struct.pack("<I", len(one)) + one for one in messages)


def pagemap(*entries: tuple[int, int, int]) -> bytes:
    """`(address, pages, flags)`; 2 is lazy, 4 is present."""
    return image(message(f1=1), *(message(f1=address, f4=flags, f5=pages) for address, pages, flags in entries))


def mm(*areas: tuple[int, int]) -> bytes:
    held = [message(f1=start, f2=end) for start, end in areas]
    return image(b"".join(varint(14 << 3 | 2) + varint(len(area)) + area for area in held))


class TestImages:
    def test_only_what_the_dump_left_out_is_asked_for(self, programs: Any, tmp_path: Path) -> None:
        (tmp_path / "pagemap-7.img").write_bytes(pagemap((0x1000, 3, 4), (0x8000, 2, 2)))
        (tmp_path / "pagemap-shmem-9.img").write_bytes(pagemap((0x1000, 5, 2)))
        assert programs["frames"].lazy_runs(tmp_path) == [(7, 0x8000, 2)]

    def test_a_long_run_is_cut_to_what_one_pipe_of_criu_holds(self, programs: Any, tmp_path: Path) -> None:
        (tmp_path / "pagemap-1.img").write_bytes(pagemap((0, 2500, 2)))
        runs = programs["frames"].lazy_runs(tmp_path)
        assert [(run.address // 4096, run.pages) for run in runs] == [(0, 1024), (1024, 1024), (2048, 452)]

    def test_a_run_over_two_areas_is_placed_in_two_pieces(self, programs: Any, tmp_path: Path) -> None:
        (tmp_path / "mm-1.img").write_bytes(mm((0x1000, 0x3000), (0x3000, 0x9000)))
        areas = programs["frames"].Areas(tmp_path, 1)
        assert list(areas.pieces(0x2000, 0x3000)) == [(0x2000, 0x1000), (0x3000, 0x2000)]

    def test_children_come_before_their_parents(self, programs: Any, tmp_path: Path) -> None:
        (tmp_path / "pstree.img").write_bytes(
            image(message(f1=1, f2=0), message(f1=9, f2=1), message(f1=7, f2=9), message(f1=12, f2=1))
        )
        for pid in (1, 7, 9, 12):
            (tmp_path / f"pagemap-{pid}.img").write_bytes(pagemap((0x1000, 1, 2)))
        assert [run.pid for run in programs["frames"].lazy_runs(tmp_path)] == [7, 9, 12, 1]

    @pytest.mark.parametrize("cut", [1, 5, 9])
    def test_an_image_that_ends_in_the_middle_is_no_image(self, programs: Any, tmp_path: Path, cut: int) -> None:
        (tmp_path / "pagemap-1.img").write_bytes(pagemap((0x1000, 3, 2))[:-cut])
        with pytest.raises(programs["frames"].Damaged):
            programs["frames"].lazy_runs(tmp_path)


class Target:
    """A receiver on a pipe of its own, in a move's directory; no restore comes unless a test plays one."""

    def __init__(self, programs: Any, move: Path) -> None:
        self.frames, self._in = programs["frames"], programs["stream_in"]
        self.move = move
        for name in ("images", "work"):
            (move / name).mkdir()
        os.mkfifo(move / "images" / "inventory.img")
        self._read, self.write = os.pipe()
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._receive)

    def _receive(self) -> None:
        here = Path.cwd()
        try:
            self._in.Stream(self.move, os.getuid(), self._read).receive()
        except Exception as error:
            self.error = error
        finally:
            os.chdir(here)

    def send_image(self, name: str, data: bytes) -> None:
        word = name.encode()
        os.write(self.write, self.frames.HEADER.pack(self.frames.IMAGE, 0, len(data), len(word)) + word + data)

    def ends_with(self) -> str:
        """What it says when nothing more comes; empty when it is content."""
        os.close(self.write)
        self._thread.start()
        self._thread.join(20)
        assert not self._thread.is_alive()
        return str(self.error or "")


class TestReceiver:
    @pytest.mark.parametrize(
        "name", ["../evil.img", "/etc/passwd", "core-1.img/x", "a b.img", "x" * 80 + ".img", "run.sh"]
    )
    def test_a_name_that_is_no_images_writes_nothing(self, programs: Any, tmp_path: Path, name: str) -> None:
        target = Target(programs, tmp_path)
        target.send_image(name, b"data")
        assert "is not an image" in target.ends_with()
        assert [path.name for path in (tmp_path / "images").iterdir()] == ["inventory.img"]

    def test_an_image_that_is_a_link_already_is_not_followed(self, programs: Any, tmp_path: Path) -> None:
        target = Target(programs, tmp_path)
        (tmp_path / "images" / "core-1.img").symlink_to(tmp_path / "elsewhere")
        target.send_image("core-1.img", b"data")
        assert "File exists" in target.ends_with()
        assert not (tmp_path / "elsewhere").exists()

    def test_images_that_are_fewer_than_were_sent_let_nothing_go_on(self, programs: Any, tmp_path: Path) -> None:
        target = Target(programs, tmp_path)
        target.send_image("core-1.img", b"data")
        os.write(target.write, target.frames.HEADER.pack(target.frames.CAME, 0, 0, 2))
        assert target.ends_with() == "1 images came, 2 were sent"
        assert not (tmp_path / "came").exists()

    def test_a_connection_that_ends_early_is_told(self, programs: Any, tmp_path: Path) -> None:
        target = Target(programs, tmp_path)
        os.write(target.write, target.frames.HEADER.pack(target.frames.IMAGE, 0, 100, 8) + b"core-1.i")
        assert "is not an image" in target.ends_with() or "ended before" in target.ends_with()


class TestSender:
    def test_pages_pass_from_the_page_server_as_they_are(self, programs: Any) -> None:
        out, frames = programs["stream_out"], programs["frames"]
        here, there = socket.socketpair()
        read, write = os.pipe()
        run = frames.Run(1, 0x4000, 2)
        page = os.urandom(2 * 4096)
        there.sendall(REQUEST.pack(0x40000 | GOT, 2, 0x4000, 1) + page)
        sent = out.send_pages(served(programs, here), [run], programs["channel"].Outlet(write))
        assert sent == len(page)
        assert REQUEST.unpack(there.recv(REQUEST.size)) == (GET, 2, 0x4000, 1)
        os.close(write)
        with os.fdopen(read, "rb") as stream:
            assert frames.HEADER.unpack(stream.read(frames.HEADER.size)) == (frames.PAGES, 1, 0x4000, 2)
            assert stream.read(len(page)) == page
            assert frames.HEADER.unpack(stream.read()) == (frames.END, 0, 0, 2)

    def test_an_answer_to_another_question_ends_it(self, programs: Any) -> None:
        out, frames = programs["stream_out"], programs["frames"]
        here, there = socket.socketpair()
        there.sendall(REQUEST.pack(GOT, 1, 0x4000, 1))
        with pytest.raises(frames.Damaged, match="asked for 2"):
            outlet = programs["channel"].Outlet(os.open(os.devnull, os.O_WRONLY))
            out.send_pages(served(programs, here), [frames.Run(1, 0x4000, 2)], outlet)

    def test_the_receivers_reason_stands_beside_the_broken_pipe(self, programs: Any, tmp_path: Path) -> None:
        ends = "echo noise >&2; echo 'the memory cannot be received: No space left on device' >&2; exit 1"
        channel = programs["channel"].Channel(["sh", "-c", ends], tmp_path)
        with pytest.raises(BrokenPipeError) as broken:
            while True:
                channel.out.write(bytes(1 << 16))
        told = channel.in_words(broken.value)
        channel.end()
        assert told == "[Errno 32] Broken pipe: the memory cannot be received: No space left on device"

    def test_an_error_on_this_side_is_told_alone(self, programs: Any, tmp_path: Path) -> None:
        channel = programs["channel"].Channel(["sleep", "60"], tmp_path)
        assert channel.in_words(programs["frames"].Damaged("CRIU ended")) == "CRIU ended"
        channel.end()


def test_pages_wait_for_the_files_longer_than_for_a_restore(programs: dict[str, Any], tmp_path: Path) -> None:
    """CRIU takes none before the last pass has ended, and that may take as long as the pause is let."""
    program = programs["stream_in"]
    stream = program.Stream.__new__(program.Stream)
    stream._move, stream._buffers = tmp_path, []
    stream._restore = SimpleNamespace(has=lambda pid: False)
    stream._kept = [SimpleNamespace(run=SimpleNamespace(pid=1, address=4096))]

    def placed_after(since_began_s: float, since_moved_s: float) -> None:
        now_s = time.monotonic()
        stream._began_s, stream._moved_s = now_s - since_began_s, now_s - since_moved_s
        stream._place_kept()

    placed_after(40, 40)
    placed_after(700, 20)
    with pytest.raises(program.Damaged, match="takes no pages"):
        placed_after(700, 40)
    (tmp_path / "files-came").touch()
    placed_after(100, 20)
    with pytest.raises(program.Damaged, match="takes no pages"):
        placed_after(100, 40)


def test_a_stream_goes_on_where_it_cannot_tell_that_it_is_nearly_sent(programs: dict[str, Any], tmp_path: Path) -> None:
    programs["stream_out"].tell_nearly(tmp_path / "gone")
