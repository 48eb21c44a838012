"""The part that all scenarios share: the story so far, the error that it ended with, and the check of that error."""

import re
from collections.abc import Iterable, Sequence
from typing import Self

from eventkit.testing.report import fail, lines_of


class Scenario:
    """The base class of scenarios."""

    def __init__(self, *story: str) -> None:
        self._story = list(story)
        self._error: Exception | None = None

    def then_raises(self, kind: type[Exception], match: str | None = None) -> Self:
        """Expect an error; the regular expression `match` must be found in its message."""
        __tracebackhide__ = True
        wanted = kind.__qualname__ + (f" with a message like {match!r}" if match else "")
        if self._error is None:
            happened = _indented(self._outcome())
            fail(f"{wanted} was expected, but nothing was raised; what happened is", *happened, story=self._story)
        if not isinstance(self._error, kind) or (match is not None and not re.search(match, str(self._error))):
            self._fail_of_error(f"{wanted} was expected, but it raised")
        return self

    def _outcome(self) -> Sequence[object]:
        """Return the events of the scenario."""
        raise NotImplementedError

    def _check_fine(self, *, expected: Iterable[object] | None = None) -> None:
        """Fail if there was an error; the message names the expected events."""
        __tracebackhide__ = True
        if self._error:
            self._fail_of_error("it raised", *([] if expected is None else ["expected was", *_indented(expected)]))

    def _fail_of_error(self, sentence: str, *more: str) -> None:
        __tracebackhide__ = True
        fail(sentence, f"    {self._error!r}", *more, story=self._story, cause=self._error)


def _indented(events: Iterable[object]) -> list[str]:
    return [f"    {line}" for event in events for line in lines_of(event)] or ["    (nothing)"]
