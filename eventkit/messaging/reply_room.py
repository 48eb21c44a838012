"""Bounds the bytes of replies that no caller has taken yet: an event loop that is blocked takes none."""

import threading
from collections.abc import Callable

_MAX_BYTES = 32_000_000


class ReplyRoom:
    """The replies of one process, by the ids of their requests; safe to use by threads and tasks at once."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}
        self.held = 0  # their sum in bytes
        self._changed = threading.Condition()

    def enter(self, request_id: str, size: int, *, awaited: Callable[[], bool], is_open: Callable[[], bool]) -> bool:
        """Wait until a reply fits, then count it; return False if it is not `awaited` any more.

        It waits while the reply is awaited and `is_open`. A larger reply than the bound fits when no other is held.
        """
        with self._changed:
            self._changed.wait_for(lambda: self.held <= _MAX_BYTES or not (awaited() and is_open()))
            if not awaited():
                return False
            self.held += size - self._sizes.get(request_id, 0)
            self._sizes[request_id] = size
        return True

    def leave(self, request_id: str) -> None:
        """Release a reply: its caller has taken it, or does not await it any more."""
        with self._changed:
            self.held -= self._sizes.pop(request_id, 0)
            self._changed.notify_all()

    def close(self) -> None:
        """Wake a thread that waits, which looks at `is_open` again."""
        with self._changed:
            self._changed.notify_all()
