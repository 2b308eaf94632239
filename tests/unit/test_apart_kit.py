"""Who stands by for a copy belongs to no job, also on a node that is too busy to begin with him at once."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from migrator.transport.kit import SCRIPTS

# Says what its child is when it goes on: the child's own session, and what the child still holds of it.
PROGRAM = """
import os, socket, time
from apart import apart
own = os.setsid
os.setsid = lambda: (time.sleep(0.3), own())
ours, theirs = socket.socketpair()
child = apart(theirs.fileno())
if not child:
    theirs.recv(1)
    os._exit(0)
print(os.getsid(child) == child, len(os.listdir(f"/proc/{child}/fd")), flush=True)
ours.send(b"!")
os.waitpid(child, 0)
"""


@pytest.mark.timeout(30)
def test_it_stands_apart_with_one_descriptor_before_its_parent_goes_on() -> None:
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "True 1\n"
