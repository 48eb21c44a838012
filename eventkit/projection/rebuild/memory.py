"""Divide a rebuild's memory limit: how many worker processes it has, and how much each reads at once.

A process takes memory for Python and the service's modules, and for the events of one transaction with their rows. All
processes of a rebuild import the same modules, so the first part is measured in this process.
"""

from pathlib import Path

import msgspec

from eventkit.errors import ConfigurationError

DEFAULT_MEMORY = 250_000_000  # bytes, of all processes of a rebuild
EVENTS, BYTES = 10_000, 8_000_000  # of one transaction, at most
_EVENT_BYTES = 3_000  # of a small event: message, headers, decoded event, row, parameters
_COPIES = 5  # of an event's data: received, text, decoded, in the row, in the statement
_MIN_EVENTS, _MIN_BYTES = 500, 1_000_000  # of one transaction; less is too slow
_USUAL_PROCESS_BYTES = 70_000_000  # where the system does not report it
_SPARE_BYTES = 4_000_000  # for each process


class MemoryShare(msgspec.Struct, frozen=True):
    """The limits of one process's transaction."""

    events: int = EVENTS
    bytes: int = BYTES

    @property
    def memory(self) -> int:
        """The bytes that such a transaction takes at most."""
        return self.events * _EVENT_BYTES + self.bytes * _COPIES


_SMALLEST = MemoryShare(_MIN_EVENTS, _MIN_BYTES)


def shares(memory: int | None, *, workers: int, process: int | None = None) -> tuple[int, MemoryShare]:
    """Return how many workers fit into `memory` bytes, up to `workers`, and the share of each.

    One worker is this process. With more, this process waits for them and then feeds the rest. `process` is the size
    of a process before it reads, in bytes; measured unless given. Raise ConfigurationError if not even one fits.
    """
    base = (process or resident()) + _SPARE_BYTES
    if memory is None:
        memory = max(DEFAULT_MEMORY, base + _SMALLEST.memory)
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
    factor = min(1.0, part / MemoryShare().memory)
    return workers, MemoryShare(max(_MIN_EVENTS, int(EVENTS * factor)), max(_MIN_BYTES, int(BYTES * factor)))


def resident() -> int:
    """Return the resident memory of this process, in bytes."""
    try:
        text = Path("/proc/self/status").read_text(errors="replace")
        return int(text.partition("VmRSS:")[2].split()[0]) * 1024
    except (OSError, IndexError, ValueError):  # not Linux
        return _USUAL_PROCESS_BYTES
