"""Snapshots of an aggregate's state, as JSON, so that loading a long stream reads only its end.

    orders = Repository(store, Order, category="order", snapshots=Snapshots(every=100))

A snapshot only makes loading faster, and may be deleted at any time. If it is missing, unreadable, or of another fold,
the next save replaces it. An error in writing a snapshot is logged, and never fails the save.
`eventkit.storage.snapshots` stores snapshots, and says which one is valid.
"""

import logging
from collections.abc import Callable
from functools import cached_property
from typing import Any, Generic, TypeVar

from eventkit.aggregates.fingerprint import fingerprint
from eventkit.aggregates.fold import Fold
from eventkit.domain.codec import Codec, Encoded, Sealable
from eventkit.domain.envelope import EncodedEvent
from eventkit.domain.functions import name_of, refusal, wrong_parameters
from eventkit.domain.stream import StreamId
from eventkit.errors import AggregateError, CatalogError, InvalidEvent, UndecodableEvent
from eventkit.storage.db import Steps
from eventkit.storage.events import Appended, EventStore, encryption_of
from eventkit.storage.snapshots import Snapshot, SnapshotSql, keep_steps, read_steps

logger = logging.getLogger("eventkit.aggregates")
S = TypeVar("S")
Policy = Callable[[Any, int], bool]


class Snapshots:
    """A policy: a snapshot `every` so many events, or if `when(state, events since the last snapshot)` is true.

    Change `version` to make all snapshots again after a change that the fold's fingerprint does not cover. If events
    have personal fields, mark the state's personal fields with `Personal`, or declare with `impersonal` that the state
    has none.
    """

    def __init__(
        self,
        *,
        every: int | None = None,
        when: Policy | None = None,
        version: int | str = 1,
        impersonal: bool = False,
    ) -> None:
        if (every is None) == (when is None) or (every is not None and every < 1):
            raise AggregateError(f"snapshots: every={every}, when={when}: give one of them, `every` from 1 on")
        if when is not None and (wrong := refusal(when) or wrong_parameters(when, (2,))):
            raise AggregateError(f"snapshots: {name_of(when)} {wrong}; it takes the state and a number of events")
        self.version = version
        self.impersonal = impersonal
        self.due: Policy = when or (lambda _, since: since >= (every or 1))


def check_whole(state: object, cls: type) -> None:
    """Raise InvalidEvent for a state that decoding the fields of its class would not restore."""
    names = getattr(cls, "__dataclass_fields__", ())
    loose = [name for name in getattr(state, "__dict__", ()) if names and name not in names]
    if type(state) is not cls:
        raise InvalidEvent(f"the state is a {type(state).__qualname__}, it began as a {cls.__qualname__}")
    if loose:
        raise InvalidEvent(f"{cls.__qualname__} has an attribute {loose[0]!r}, which is no field of it")


class Keeper(Generic[S]):
    """The snapshots of one kind of aggregate."""

    def __init__(self, snapshots: Snapshots, fold: Fold[S, Any], store: EventStore) -> None:
        """Raise AggregateError if the state cannot be kept in snapshots."""
        self._snapshots = snapshots
        self._fold = fold
        self._catalog = store.catalog
        self._sealing = encryption_of(store)
        self._sql = SnapshotSql(store.schema)
        self._state = type(fold.initial())
        try:
            self._codec = Codec(self._state)
            self._codec.encode(fold.initial())
        except (CatalogError, InvalidEvent, NameError) as error:
            raise AggregateError(
                f"the state of {fold.name} cannot be kept in snapshots: {error}; a @dataclass, a msgspec.Struct or a "
                "Pydantic model can"
            ) from error
        self._check_personal()
        # A process without master keys folds redacted values, so it must neither write nor read shared snapshots.
        self._blind = self._codec.personal is not None and self._sealing.masters is None

    def _check_personal(self) -> None:
        personal = [cls.__name__ for cls in self._fold.steps if self._catalog.is_personal(cls)]
        if personal and self._codec.personal is None and not self._snapshots.impersonal:
            raise AggregateError(
                f"the state of {self._fold.name} may hold personal data of {', '.join(personal)}, and a snapshot would "
                "keep it in plain text: mark the state's fields, Annotated[…, Personal(…)], or give "
                "Snapshots(impersonal=True) if it holds none"
            )

    def recall(self, stream: StreamId) -> Steps[tuple[S, int] | None]:
        """Return the state of a snapshot and its version; None if there is no usable snapshot."""
        if self._blind:
            return None
        found = yield from read_steps(self._sql, stream, self._fold.name, self._fingerprint)
        if found is None:
            return None
        version, event_id, data = found
        kept = EncodedEvent(
            id=event_id,
            source=self._catalog.name,
            stream=stream,
            version=version,
            type=self._type,
            data=data,
            time="",
        )
        try:
            if (yield from self._sealing.open([kept])):
                return None  # a subject was forgotten: the state must be folded again from the redacted events
            return self._codec.decode(kept.data), version
        except UndecodableEvent as error:
            logger.warning("the snapshot of %s at version %d is not used: %s", stream, version, error)
            return None

    def keep(self, state: S, since: int, done: Appended) -> Steps[bool]:
        """Write a snapshot after an append if the policy asks for it; return whether it was written."""
        if self._blind:
            return False
        try:
            encoded = self._encoded(state) if self._snapshots.due(state, since) else None
        except Exception as error:  # noqa: BLE001 the user's policy or state may fail, and the save must not
            reason = type(error).__name__ if self._codec.personal else repr(error)
            logger.warning("no snapshot of %s at version %d: %s", done.stream, done.version, reason)
            encoded = None
        if encoded is None:
            return False
        snapshot = Snapshot(done.stream, self._fold.name, done.version, done.ids[-1], self._fingerprint, encoded)
        return (yield from keep_steps(self._sql, snapshot, self._sealing, self._catalog.name))

    @property
    def _type(self) -> str:
        return f"snapshot of {self._fold.name}"

    def _encoded(self, state: S) -> Encoded:
        check_whole(state, self._state)
        redacted, personal = self._codec.redacted(self._codec.encode(state))
        return Sealable.of(Encoded(self._type, 1, redacted.decode()), personal)

    @cached_property
    def _fingerprint(self) -> str:
        return fingerprint(self._fold, self._catalog, self._snapshots.version)
