"""An action on many letters, in a thread of this process: a browser does not wait for a million of them.

One runs at a time. Each page of letters, or each stream, is a transaction of its own; when the process ends, the rest
is not done. The screen of the letters shows how far it is.
"""

import threading
import time
from collections.abc import Callable, Iterator

import msgspec

from eventkit.errors import EventkitError
from eventkit.web.rendering.words import plural

Work = Callable[[], Iterator[tuple[int, int]]]  # yields how many letters were done, and how many were refused

_SHOWN = 120.0  # seconds after the end


class BulkState(msgspec.Struct, frozen=True):
    """How far an action is."""

    verb: str  # `redrive` or `discard`
    who: str
    done: int = 0
    refused: int = 0
    is_done: bool = False
    error: str | None = None
    at: float = 0.0  # of the last change, on the monotonic clock

    @property
    def text(self) -> str:
        """A sentence for the screen."""
        what = {
            "redrive": f"asked to redrive {plural(self.done, 'letter')}: running projectors and relays do it now",
            "discard": f"discarded {plural(self.done, 'letter')}",
        }[self.verb]
        why = {
            "redrive": "cannot be redriven: they have no place in a stream, or their generation is not live",
            "discard": "stay, each waits for an earlier event",
        }[self.verb]
        stays = f"; {plural(self.refused, 'letter')} {why}" if self.refused else ""
        end = f"; then it failed: {self.error}" if self.error else "." if self.is_done else ", and goes on …"
        return f"{self.who} has {what}{stays}{end}"


class Bulk:
    """The action that runs, or ran last."""

    def __init__(self) -> None:
        self._state: BulkState | None = None
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def state(self) -> BulkState | None:
        """The action that runs, or has ended within the last minutes."""
        state = self._state
        old = state is None or (state.is_done and time.monotonic() - state.at > _SHOWN)
        return None if old else state

    def start(self, verb: str, who: str, work: Work, *, wait: float) -> bool:
        """Start an action and wait some seconds for its end; return False if another one runs."""
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                return False
            self._state = BulkState(verb, who, at=time.monotonic())
            self._thread = threading.Thread(target=self._run, args=(work,), name=f"eventkit web {verb}", daemon=True)
            self._thread.start()
        self._thread.join(wait)
        return True

    def _run(self, work: Work) -> None:
        try:
            for done, refused in work():
                self._change(done=done, refused=refused)
        except EventkitError as error:
            self._change(error=str(error), is_done=True)
        except BaseException as error:
            self._change(error=type(error).__name__, is_done=True)
            raise
        else:
            self._change(is_done=True)

    def _change(self, *, done: int = 0, refused: int = 0, is_done: bool = False, error: str | None = None) -> None:
        if (state := self._state) is not None:
            self._state = msgspec.structs.replace(
                state,
                done=state.done + done,
                refused=state.refused + refused,
                is_done=is_done,
                error=error,
                at=time.monotonic(),
            )
