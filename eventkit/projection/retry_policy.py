"""Retry policies: the attempts of a handler at an event, the pauses between them, and errors that wait or park at once.

A policy belongs to a handler, or to all handlers of a projection. It applies to errors that a handler raises:

    park_on               the event is parked at its first failure
    wait_for              the error is not the event's fault: its stream waits, and the breaker counts the failure
    OSError, TimeoutError, MemoryError, TryLater    as `wait_for`
    any other error       the event is retried, then parked after its last attempt

If several classes match an error, the nearest to the error's own class counts.
"""

import random
from collections.abc import Iterator
from typing import Any

import msgspec
import psycopg
import sqlalchemy as sa

from eventkit.domain.functions import name_of_class
from eventkit.errors import InvalidEvent, NewerSchema, ProjectionError, TryLater, UndecodableEvent

WAITED_FOR = (TryLater, OSError, MemoryError)  # includes TimeoutError, which is an OSError
_MAX_SECONDS = 86_400.0
_MAX_ATTEMPTS = 1_000
_MAX_FACTOR = 100.0
_MAX_GROWTH = 60  # attempts; later pauses do not grow
# Errors of the event's own data: waiting does not help, and one such event would stop all events of its type.
_OF_DATA: tuple[type[Exception], ...] = (
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.errors.RaiseException,
    sa.exc.DataError,
    sa.exc.IntegrityError,
    UndecodableEvent,
    NewerSchema,
    InvalidEvent,
)
_OF_DATABASES = (psycopg.Error, sa.exc.DBAPIError)


class Backoff(msgspec.Struct, frozen=True):
    """Growing pauses: `first` seconds, then `factor` times the pause before, at most `most` seconds.

    `jitter` is the random share of a pause: with 0.5, a pause of 10 s takes 5 to 10 s. Raises ProjectionError for
    numbers out of range.
    """

    first: float = 0.1
    factor: float = 4.0
    most: float = 5.0
    jitter: float = 0.5

    def __post_init__(self) -> None:
        """Raise ProjectionError for numbers out of range."""
        for name in self.__struct_fields__:
            if isinstance(getattr(self, name), bool) or not isinstance(getattr(self, name), int | float):
                raise ProjectionError(f"Backoff({name}={getattr(self, name)!r}): it must be a number")
        if not 0 <= self.first <= self.most <= _MAX_SECONDS:
            raise ProjectionError(
                f"Backoff(first={self.first}, most={self.most}): these are seconds, and must be 0 <= first <= most <= "
                f"{_MAX_SECONDS:.0f}"
            )
        if not 1 <= self.factor <= _MAX_FACTOR:
            raise ProjectionError(
                f"Backoff(factor={self.factor}): it must be 1 (pauses do not grow) to {_MAX_FACTOR:.0f}"
            )
        if not 0 <= self.jitter <= 1:
            raise ProjectionError(f"Backoff(jitter={self.jitter}): it is a share of the pause, 0 to 1")

    def pause(self, attempt: int) -> float:
        """Return the seconds to wait after an attempt; the first attempt is 1."""
        whole = min(self.first * self.factor ** min(attempt - 1, _MAX_GROWTH), self.most)
        return whole * random.uniform(1 - self.jitter, 1)  # noqa: S311 jitter needs no secrecy


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """The retry policy of a handler.

    `attempts` are made with pauses of `backoff`, then the event is parked with its stream. The count is in memory, so a
    restart begins at zero. `park_on` are errors that park at once. `wait_for` are errors of a service that the handler
    calls, in addition to OSError, TimeoutError, MemoryError and TryLater. After `opens_after` of them in a row the
    handler's breaker opens, and `probes` are the pauses between two calls. Raises ProjectionError for contradictions.
    """

    attempts: int = 3
    backoff: Backoff = Backoff()
    wait_for: tuple[type[Exception], ...] = ()
    park_on: tuple[type[Exception], ...] = ()
    opens_after: int = 1
    probes: Backoff = Backoff(first=0.2, factor=2.0, most=10.0)

    def __post_init__(self) -> None:
        """Raise ProjectionError for wrong types, numbers out of range and contradictions."""
        for name in ("attempts", "opens_after"):
            number: object = getattr(self, name)
            if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= _MAX_ATTEMPTS:
                raise ProjectionError(f"Retry({name}={number!r}): it must be a number of 1 to {_MAX_ATTEMPTS:,}")
        for name in ("backoff", "probes"):
            if not isinstance(getattr(self, name), Backoff):
                raise ProjectionError(
                    f"Retry({name}={getattr(self, name)!r}): write {name}=Backoff(first=0.5, most=60)"
                )
        for name in ("wait_for", "park_on"):
            msgspec.structs.force_setattr(self, name, _classes(name, getattr(self, name)))
        if both := [kind for kind in self.wait_for if kind in self.park_on]:
            raise ProjectionError(f"Retry: {name_of_class(both[0])} is in wait_for and in park_on: it can only be one")
        for kind in self.wait_for:
            _check_waited(kind)
        for kind in self.park_on:
            _check_parking(kind)

    def waits_for(self, error: BaseException) -> bool | None:
        """Return True for an error of `wait_for`, False for one of `park_on`, None for others.

        If the error itself is in neither, the error that it was raised from counts (`raise … from`).
        """
        if isinstance(error, BaseExceptionGroup):
            found = {self.waits_for(each) for each in error.exceptions}
            return False if False in found else True if found == {True} else None
        return next((waits for link in links(error) if (waits := self._matches(link)) is not None), None)

    def _matches(self, error: BaseException) -> bool | None:
        for kind in type(error).__mro__:
            if kind in self.wait_for:
                return True
            if kind in self.park_on:
                return False
            if kind in WAITED_FOR:  # nearer to the error than any class of the policy
                return None
        return None

    def plain(self) -> dict[str, Any]:
        """Return the policy as JSON values, exceptions by name."""
        fields = msgspec.structs.asdict(self)
        return fields | {
            "backoff": msgspec.structs.asdict(self.backoff),
            "probes": msgspec.structs.asdict(self.probes),
            "wait_for": [name_of_class(kind) for kind in self.wait_for],
            "park_on": [name_of_class(kind) for kind in self.park_on],
        }


def links(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, the error that it was raised from, and so on.

    An error without a cause may carry one as an argument, as httpcore's errors do.
    """
    link: BaseException | None = error
    seen: list[BaseException] = []  # an error that is raised again may have itself among its causes
    while link is not None and link not in seen:
        yield link
        seen.append(link)
        carried = () if isinstance(link, BaseExceptionGroup) else link.args
        link = link.__cause__ or next((each for each in carried if isinstance(each, BaseException)), None)


def check_timeout(timeout: object, *, of: str) -> float:
    """Return a timeout in seconds; raise ProjectionError for an invalid value."""
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout < _MAX_SECONDS:
        raise ProjectionError(f"{of}: timeout={timeout!r} must be above 0 and below {_MAX_SECONDS:.0f} s")
    return float(timeout)


def check_retry(retry: object, *, of: str) -> Retry:
    """Return a policy; raise ProjectionError for another value."""
    if not isinstance(retry, Retry):
        raise ProjectionError(f"{of}: retry={retry!r} is no policy: write retry=Retry(attempts=5), for instance")
    return retry


def _classes(name: str, given: object) -> tuple[type[Exception], ...]:
    if not isinstance(given, tuple | list | set | frozenset):
        shown = given.__qualname__ if isinstance(given, type) else repr(given)
        raise ProjectionError(f"Retry({name}={shown}): write a tuple of classes, {name}=({shown},)")
    for kind in given:
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            raise ProjectionError(f"Retry({name}=…): {kind!r} is no class of exceptions (a subclass of Exception)")
    return tuple(given)


def _check_waited(kind: type[Exception]) -> None:
    of_data = next((each for each in _OF_DATA if issubclass(each, kind) or issubclass(kind, each)), None)
    if of_data is not None:
        includes = "" if issubclass(kind, of_data) else f" includes {name_of_class(of_data)}, which"
        raise ProjectionError(
            f"Retry(wait_for=…): {name_of_class(kind)}{includes} speaks of the event's own data, so one such event "
            "would stop all events of its type: name a narrower class, or give the event more attempts (attempts=, "
            "backoff=)"
        )


def _check_parking(kind: type[Exception]) -> None:
    if issubclass(kind, TryLater):
        raise ProjectionError("Retry(park_on=…): TryLater is how a handler asks to be tried again; it cannot park")
    if issubclass(kind, _OF_DATABASES) and not issubclass(kind, _OF_DATA):
        raise ProjectionError(
            f"Retry(park_on=…): {name_of_class(kind)} says nothing of the event (a lock, a lost connection, a missing "
            "column), so it parks nothing: name DataError, IntegrityError or subclasses of them"
        )
