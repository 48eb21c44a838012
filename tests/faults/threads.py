"""Threads that work until the end of a block, which raises the first error of theirs."""

import threading
from collections.abc import Callable, Sequence
from typing import Self


class Threads:
    """Runs each work on a thread of its own; `over` is set when they are to come to an end."""

    def __init__(self, works: Sequence[Callable[[], None]]) -> None:
        """Start nothing yet."""
        self.over = threading.Event()
        self._errors: list[BaseException] = []
        self._threads = [threading.Thread(target=self._guarded, args=(work,)) for work in works]

    @property
    def alive(self) -> bool:
        """Whether one still works."""
        return any(thread.is_alive() for thread in self._threads)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join()
        if self._errors:
            raise self._errors[0]

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 raised again at the end of the block
            self._errors.append(error)
