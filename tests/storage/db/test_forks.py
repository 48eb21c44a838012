"""Ids of events in processes that were forked: no two are the same."""

import subprocess
import sys

# Each child writes the random part of its next id; before uuid-utils 0.14 all of them drew the same.
PROGRAM = """
import os
from eventkit.storage.events.entries import uuid7
uuid7()
for _ in range(4):
    child = os.fork()
    if child == 0:
        os.write(1, f"{uuid7()}"[19:].encode() + b" ")
        os._exit(0)
    os.waitpid(child, 0)
os.write(1, f"{uuid7()}"[19:].encode())
"""


def test_forked_processes_do_not_draw_the_same_ids() -> None:
    """A web server that forks its workers after the first event appends on in each of them."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True)

    ids = done.stdout.split()

    assert len(ids) == len(set(ids)) == 5
