"""When an aggregate's state is kept, so that loading a long stream reads only its end; the states are JSON.

    orders = Repository(store, Order, category="order", snapshots=Snapshots(every=100))

A snapshot changes nothing but the time that loading takes: it may be deleted at any time, and one that is missing, made
by another fold or unreadable is replaced at the next save. Keeping one never fails a save; the log says why it did not.
"""

import logging
from collections.abc import Callable
from functools import cached_property
from typing import Any, Generic, TypeVar

from eventkit.aggregates.fingerprint import fingerprint
from eventkit.aggregates.fold import Fold
from eventkit.domain.catalog import Catalog
from eventkit.domain.codec import Codec
from eventkit.domain.stream import StreamId
from eventkit.errors import AggregateError, CatalogError, InvalidEvent, UndecodableEvent
from eventkit.storage.append import Appended
from eventkit.storage.drivers import Steps
from eventkit.storage.snapshots import Snapshot, SnapshotSql, keep_steps, read_steps

logger = logging.getLogger("eventkit.aggregates")
S = TypeVar("S")
Policy = Callable[[Any, int], bool]


class Snapshots:
    """A policy: `every` so many events, or `when(state, events since the last snapshot)` says so.

    `version` stands for what the fingerprint of the fold cannot see: change it to have all snapshots made again.
    """

    def __init__(self, *, every: int | None = None, when: Policy | None = None, version: int | str = 1) -> None:
        if (every is None) == (when is None) or (every is not None and every < 1):
            raise AggregateError(f"snapshots: every={every}, when={when}: give one of them, `every` from 1 on")
        self.version = version
        self.due: Policy = when or (lambda _, since: since >= (every or 1))


class Keeper(Generic[S]):
    """Snapshots of one kind of aggregate."""

    def __init__(self, snapshots: Snapshots, fold: Fold[S, Any], catalog: Catalog, schema: str) -> None:
        """Check that the state can be kept."""
        self._snapshots = snapshots
        self._fold = fold
        self._catalog = catalog
        self._sql = SnapshotSql(schema)
        self._state = type(fold.initial())
        try:
            self._codec = Codec(self._state)
        except (CatalogError, NameError) as error:
            raise AggregateError(
                f"the state of {fold.name} cannot be kept in snapshots: {error}; a @dataclass, a msgspec.Struct or a "
                "Pydantic model can"
            ) from error

    def recall(self, stream: StreamId) -> Steps[tuple[S, int] | None]:
        """Return a state and its version; None where there is no snapshot to be used."""
        found = yield from read_steps(self._sql, stream, self._fold.name, self._fingerprint)
        if found is None:
            return None
        version, data = found
        try:
            return self._codec.decode(data), version
        except UndecodableEvent as error:
            logger.warning("the snapshot of %s at version %d is not used: %s", stream, version, error)
            return None

    def keep(self, state: S, since: int, done: Appended) -> Steps[bool]:
        """Keep the state after an append if the policy says so; return whether it was kept."""
        try:
            data = self._encoded(state) if self._snapshots.due(state, since) else None
        except Exception as error:  # noqa: BLE001 whatever the user's policy or state does: the save is done
            logger.warning("no snapshot of %s at version %d: %r", done.stream, done.version, error)
            data = None
        if data is None:
            return False
        snapshot = Snapshot(done.stream, self._fold.name, done.version, done.ids[-1], self._fingerprint, data)
        return (yield from keep_steps(self._sql, snapshot))

    def _encoded(self, state: S) -> str:
        names = getattr(self._state, "__dataclass_fields__", ())
        loose = [name for name in getattr(state, "__dict__", ()) if names and name not in names]
        if type(state) is not self._state:
            raise InvalidEvent(f"the state is a {type(state).__qualname__}, it began as a {self._state.__qualname__}")
        if loose:
            raise InvalidEvent(f"{self._state.__qualname__} has an attribute {loose[0]!r}, which is no field of it")
        return self._codec.encode(state).decode()

    @cached_property
    def _fingerprint(self) -> str:
        return fingerprint(self._fold, self._catalog, self._snapshots.version)
