"""How a rebuild shares out the memory that it may take: how many processes it has, and how much each reads at once.

A process takes the memory of Python and the service's modules, and that of the events of one transaction with their
rows. All processes of a rebuild import the same modules, so the first part is looked up in this one.
"""

from pathlib import Path

import msgspec

from eventkit.errors import ConfigurationError

MEMORY = 250_000_000  # bytes, of all processes of a rebuild
EVENTS, BYTES = 10_000, 8_000_000  # of one transaction, at most
_EVENT = 3_000  # bytes that a small event takes: message, headers, decoded event, row, parameters
_COPIES = 5  # of its data: as it is received, text, decoded, in the row, in the statement
_FEWEST, _LEAST = 500, 1_000_000  # of one transaction, at least: fewer are too slow
_USUAL = 70_000_000  # bytes of a process, where the system does not tell
_SPARE = 4_000_000  # bytes a process


class Share(msgspec.Struct, frozen=True):
    """What one process of a rebuild reads in one transaction."""

    events: int = EVENTS
    bytes: int = BYTES

    @property
    def memory(self) -> int:
        """Bytes that it takes: large events are few, small ones are many."""
        return self.events * _EVENT + self.bytes * _COPIES


_SMALLEST = Share(_FEWEST, _LEAST)


def shares(memory: int | None, *, workers: int, process: int | None = None) -> tuple[int, Share]:
    """Return how many workers fit into so many bytes, up to `workers`, and the share of each process.

    One worker is this process itself; with more it waits for them, and feeds what is left by itself. `process` is what
    a process takes before it reads anything. ConfigurationError where not even one fits into what somebody has said.
    """
    base = (process or resident()) + _SPARE
    if memory is None:
        memory = max(MEMORY, base + _SMALLEST.memory)
    if memory < base + _SMALLEST.memory:
        needed = -(-(base + _SMALLEST.memory) // 1_000_000)
        raise ConfigurationError(
            f"a rebuild of this service takes {needed} MB at least, and may take {memory // 1_000_000} MB: "
            f"say --memory {needed}MB, or more"
        )
    while workers > 1 and memory < (workers + 1) * base + workers * _SMALLEST.memory:
        workers -= 1
    processes = workers + 1 if workers > 1 else 1
    part = (memory - processes * base) // workers
    factor = min(1.0, part / Share().memory)
    return workers, Share(max(_FEWEST, int(EVENTS * factor)), max(_LEAST, int(BYTES * factor)))


def resident() -> int:
    """Return how many bytes of memory this process has."""
    try:
        text = Path("/proc/self/status").read_text()
        return int(text.partition("VmRSS:")[2].split()[0]) * 1024
    except (OSError, IndexError, ValueError):  # not Linux
        return _USUAL
