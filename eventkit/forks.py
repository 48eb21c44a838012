"""What begins anew in a forked child, as under a server that loads a program and forks its workers afterwards.

A thread does not live on in a fork, a lock stays as somebody held it, and a broker's client must not be used or freed
there. Each object of ours that has one of them is told in the child.
"""

import ctypes
import os
from collections.abc import Callable
from typing import Protocol
from weakref import WeakSet


class Forked(Protocol):
    """An object with threads, locks or clients."""

    def forked(self) -> Callable[[], None] | None:
        """Forget, in the child, what belongs to the parent, and return soon.

        What is returned is called when every object has been told: only then may one use another.
        """


_known: "WeakSet[Forked]" = WeakSet()


def tell_in_fork(each: Forked) -> None:
    """Call its `forked` in each child that this process forks, as long as it lives."""
    _known.add(each)


def never_free(client: object) -> None:
    """Keep a parent's client in a child for good: freeing it would wait for threads that are not there."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(client))


def _in_child() -> None:
    for call in [each.forked() for each in list(_known)]:
        if call is not None:
            call()


os.register_at_fork(after_in_child=_in_child)
