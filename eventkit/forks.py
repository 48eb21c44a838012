"""Reset threads, locks and clients in a forked child, as under a server that loads a program and then forks workers.

A thread does not exist in the child, a lock may stay locked, and a broker's client must not be used or freed there. So
each object of eventkit that has one of them registers here, and its `forked` is called in the child.
"""

import ctypes
import os
from collections.abc import Callable
from typing import Protocol
from weakref import WeakSet


class Forked(Protocol):
    """An object with threads, locks or clients."""

    def forked(self) -> Callable[[], None] | None:
        """Drop, in the child, the threads, locks and clients of the parent, and return soon.

        The returned function is called after the `forked` of every object: only then may one use another.
        """


_registered: "WeakSet[Forked]" = WeakSet()


def reset_in_fork(each: Forked) -> None:
    """Call its `forked` in each child that this process forks, as long as the object lives."""
    _registered.add(each)


def never_free(client: object) -> None:
    """Keep a parent's client in a child forever: freeing it would wait for threads that do not exist there."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(client))


def _in_child() -> None:
    for call in [each.forked() for each in list(_registered)]:
        if call is not None:
            call()


os.register_at_fork(after_in_child=_in_child)
