"""Nothing of a container crosses the network in the clear: heard on the lab's own cables, during a whole migration."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.stage import Stage

WIRE = Path(__file__).parent / "wire.py"
# The patterns are made inside, so that no command line carries them; memory holds one of them 131,072 times.
PROGRAM = """
import sys, time
memory, file, held = (bytes.fromhex(word[::-1]) for word in sys.argv[1:3] + [''])
held = memory * (1 << 17)
open('/root/file', 'wb').write(file * 4096)
open('/root/ready', 'w').close()
while True: time.sleep(1); held[0]
"""


@contextmanager
def listening(stage: Stage, *patterns: bytes) -> Iterator[dict[str, object]]:
    """Hears every cable while the block runs; the dictionary is filled when it ends."""
    words = ["ip", "netns", "exec", stage.paths.switch_netns, sys.executable, str(WIRE), *(p.hex() for p in patterns)]
    heard: dict[str, object] = {}
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as ear:
        assert ear.stdout is not None
        assert ear.stdout.readline() == "ready\n"
        try:
            yield heard
        finally:
            out, _ = ear.communicate(timeout=60)
    heard.update(json.loads(out))


def test_memory_files_and_words_of_a_container_are_never_heard_on_the_wire(tidy: Stage) -> None:
    # Without newlines, which would cut what is said into two packets.
    memory, file, word, control = (
        os.urandom(32).replace(b"\n", b"n") for _ in range(4)
    )  # a newline would cut it in two
    place = ("--node", "n1", "--template", "debian", "--ip", tidy.ip(1), "--env", f"SECRET={word.hex()}")
    with listening(tidy, memory, file, word.hex().encode(), control) as heard:
        backwards = (memory.hex()[::-1], file.hex()[::-1])
        tidy.ok("ct", "create", "web", *place, "--", "python3", "-c", PROGRAM, *backwards)
        until = "until [ -e /root/ready ]; do sleep 0.02; done"
        tidy.ok("ct", "exec", "web", "--", "timeout", "20", "sh", "-c", until)
        tidy.ok("migrate", "web", "--to", "n2")
        # What it would look like: the same cables, the same ears.
        octal = "".join(f"\\{byte:03o}" for byte in control)
        send = f"printf '{octal}' > /dev/udp/{tidy.spec.ip('n2')}/9"
        assert tidy.on_node("n1", "bash", "-c", send).code == 0
    assert heard["found"] == [control.hex()]
    assert int(str(heard["bytes"])) > 4 << 20
