"""Decision models: state folded from the events of several tags, for one decision, with or without snapshots.

    @dataclass
    class Seats(DecisionModel):
        course: str
        taken: int = 0

        def query(self) -> list[QueryItem]:
            return [QueryItem([f"course:{self.course}"])]

        @evolve
        def _subscribed(self, event: Subscribed) -> None:
            self.taken += 1

    decisions = Decisions(store, Seats, snapshots=Snapshots(every=1_000))

    seats = decisions.load(session, "c1")                                  # Seats("c1") after the events of its query
    if seats.taken < 30:
        decisions.append(session, seats, stream, Subscribed("c1", "s9"))   # DecisionChanged if a new one matches

A snapshot only saves reading events. It is written with an append, never by a load. A snapshot of other code is not
used: the fingerprint covers the model's code, and `Snapshots(version=…)` everything else.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from typing import Any, ClassVar, Generic, NamedTuple, Self, TypeVar

from eventkit.aggregates.aggregate import evolving_methods, steps_of
from eventkit.aggregates.fingerprint import model_fingerprint
from eventkit.aggregates.fold import Fold
from eventkit.aggregates.snapshots import Snapshots, check_whole
from eventkit.domain.catalog import Catalog
from eventkit.domain.codec import Codec
from eventkit.domain.envelope import envelope_of
from eventkit.domain.metadata import Metadata
from eventkit.domain.stream import StreamId
from eventkit.errors import AggregateError, CatalogError, UndecodableEvent
from eventkit.storage.db import Asynchronous, Executor, Steps, Synchronous
from eventkit.storage.events import (
    Appended,
    Decision,
    EventStore,
    Found,
    Item,
    QueryItem,
    TagSql,
    encryption_of,
    items_of,
    query_steps,
)
from eventkit.storage.snapshots import KnownState, SnapshotPlace, SnapshotSql, keep_decision_steps, read_decision_steps

logger = logging.getLogger("eventkit.aggregates")
Story = Metadata | Mapping[str, Any] | None


class ModelRead(NamedTuple):
    """The position that a model was read to, and the snapshot that is due."""

    decision: Decision
    due: tuple[SnapshotPlace, KnownState] | None = None


class DecisionModel:
    """State that is folded from the events of a query; `evolve` marks the methods that change it.

    A query item without types selects the types that the model evolves. `ignored` lists types that the query selects
    and the state does not depend on.
    """

    __slots__ = ("_read",)
    _read: ModelRead | None
    ignored: ClassVar[tuple[type | str, ...]] = ()

    def __new__(cls, *_: object, **__: object) -> Self:
        self = super().__new__(cls)  # here, so that a subclass need not call `super().__init__()`
        self._read = None
        return self

    def query(self) -> Sequence[QueryItem]:
        """Return the items that the decision depends on; they may use the model's arguments."""
        raise NotImplementedError

    @property
    def decision(self) -> Decision:
        """The positions that the model has read to, for `append(unless_changed=…)`."""
        if self._read is None:
            raise AggregateError(
                f"this {type(self).__name__} was not loaded: Decisions(store, …).load(session, …) does"
            )
        return self._read.decision


M = TypeVar("M", bound=DecisionModel)


def fold_of_model(model: type[M], catalog: Catalog) -> Fold[M, M]:
    """Return the fold of a decision model's class, checked against the catalog."""
    if DecisionModel not in getattr(model, "__mro__", ()):
        raise AggregateError(f"{model!r} is no decision model: give a class of DecisionModel")
    methods = evolving_methods(model)
    steps, enveloped = steps_of(model, methods)
    for cls in steps:
        catalog.type_of(cls)
    return Fold(model.__name__, model, steps, frozenset(model.ignored), tuple(methods), _first, _itself, enveloped)


def items_of_model(model: DecisionModel, fold: Fold[Any, Any], catalog: Catalog) -> list[Item]:
    """Return a model's query; an item without types selects the types that the model evolves."""
    asked = model.query()
    if not asked or not all(isinstance(item, QueryItem) for item in asked):
        raise AggregateError(f"{fold.name}.query() returned {asked!r:.200}, not a list of QueryItem(tags=[…])")
    return items_of(catalog, asked, tuple(fold.steps))


class Decisions(Generic[M]):
    """Load decision models of one class, and append by them, on the caller's session or connection."""

    def __init__(self, store: EventStore, model: type[M], *, snapshots: Snapshots | None = None) -> None:
        """Check the model against the store's catalog; without `snapshots` every load reads all its events."""
        self.store = store
        self._model = model
        self._fold = fold_of_model(model, store.catalog)
        self._sql = TagSql(store.schema)
        self._load = Executor("load", writes=False, bind_arguments=store.bind_arguments)
        self._keep = Executor("append", writes=True, bind_arguments=store.bind_arguments)
        self._keeper = DecisionKeeper(self._fold, store, snapshots, model) if snapshots else None

    def load(self, connection: Synchronous, *args: Any, **kwargs: Any) -> M:
        """Make a model with these arguments, and fold the events of its query into it."""
        return self._load.run(connection, self._steps(self._model(*args, **kwargs)))

    async def load_async(self, connection: Asynchronous, *args: Any, **kwargs: Any) -> M:
        """Do the same as `load`, on an asynchronous session or connection."""
        return await self._load.run_async(connection, self._steps(self._model(*args, **kwargs)))

    def append(
        self,
        connection: Synchronous,
        model: M,
        stream: StreamId | str,
        *events: object,
        metadata: Story = None,
        tags: Sequence[str] = (),
    ) -> Appended:
        """Append to a stream; raise DecisionChanged if an event that the model depends on was appended meanwhile.

        A due snapshot is written with the events. The model does not change: load it again for the next decision.
        """
        done = self.store.append(
            connection, stream, *events, metadata=metadata, tags=tags, unless_changed=model.decision
        )
        if (due := self._due(model)) and self._keeper:
            self._keep.run(connection, self._keeper.keep(*due, model.decision))
        return done

    async def append_async(
        self,
        connection: Asynchronous,
        model: M,
        stream: StreamId | str,
        *events: object,
        metadata: Story = None,
        tags: Sequence[str] = (),
    ) -> Appended:
        """Do the same as `append`, on an asynchronous session or connection."""
        done = await self.store.append_async(
            connection, stream, *events, metadata=metadata, tags=tags, unless_changed=model.decision
        )
        if (due := self._due(model)) and self._keeper:
            await self._keep.run_async(connection, self._keeper.keep(*due, model.decision))
        return done

    def _due(self, model: M) -> tuple[SnapshotPlace, KnownState] | None:
        return model._read.due if model._read else None  # noqa: SLF001 this module's class

    def _steps(self, model: M) -> Steps[M]:
        items = items_of_model(model, self._fold, self.store.catalog)
        place = self._keeper.place(model, items) if self._keeper else None
        known = (yield from self._keeper.recall(place)) if self._keeper and place else None
        if known is None:
            found = yield from query_steps(self._sql, items, encryption_of(self.store))
            return self._folded(model, items, found, place)
        state, positions = known
        found = yield from query_steps(self._sql, items, encryption_of(self.store), positions)
        return self._folded(state, items, found, place)

    def _folded(self, model: M, items: list[Item], found: Found, place: SnapshotPlace | None) -> M:
        for event in found.events:
            decoded = self.store.catalog.event_of(event)
            if type(decoded) in self._fold.enveloped:
                self._fold.evolve(model, decoded, envelope_of(decoded, event))
            else:
                self._fold.evolve(model, decoded)
        decision = Decision((), tuple(items), found.seen)
        due = self._keeper.due(model, len(found.events), decision) if self._keeper and place else None
        model._read = ModelRead(decision, (place, due) if place and due else None)  # noqa: SLF001 this module's class
        return model


class DecisionKeeper(Generic[M]):
    """The snapshots of one decision model."""

    def __init__(self, fold: Fold[M, M], store: EventStore, snapshots: Snapshots, model: type[M]) -> None:
        """Raise AggregateError if the state cannot be kept in snapshots."""
        personal = [cls.__name__ for cls in fold.steps if store.catalog.is_personal(cls)]
        if personal and not snapshots.impersonal:
            raise AggregateError(
                f"the state of {fold.name} may hold personal data of {', '.join(personal)}, and a snapshot would keep "
                "it in plain text: give Snapshots(impersonal=True) if it holds none"
            )
        try:
            self._codec = Codec(model)
        except (CatalogError, NameError) as error:
            raise AggregateError(
                f"the state of {fold.name} cannot be kept in snapshots: {error}; a @dataclass can"
            ) from error
        self._fold, self._catalog, self._model, self._snapshots = fold, store.catalog, model, snapshots
        self._sql = SnapshotSql(store.schema)

    def place(self, model: M, items: Iterable[Item]) -> SnapshotPlace:
        """Return the key of a model's snapshot: its query, its state before the first event, and the fingerprint."""
        asked = sha256(repr((list(items), self._codec.encode(model))).encode()).hexdigest()
        return SnapshotPlace(self._fold.name, asked[:32], self._fingerprint)

    def recall(self, place: SnapshotPlace) -> Steps[tuple[M, dict[str, int]] | None]:
        """Return the state of a snapshot and the last position of each tag; None if there is no usable snapshot."""
        known = yield from read_decision_steps(self._sql, place)
        if known is None:
            return None
        try:
            state: M = self._codec.decode(known.state)
        except UndecodableEvent as error:
            logger.warning("the snapshot of the decision model %s is not used: %s", self._fold.name, error)
            return None
        return state, known.positions

    def due(self, model: M, since: int, decision: Decision) -> KnownState | None:
        """Return the snapshot to write with the next append; None if the policy does not ask for one."""
        try:
            if not since or not self._snapshots.due(model, since):
                return None
            check_whole(model, self._model)
            state = self._codec.encode(model).decode()
        except Exception as error:  # noqa: BLE001 the user's policy or state may fail, and the load must not
            logger.warning("no snapshot of the decision model %s: %r", self._fold.name, error)
            return None
        positions = {tag: seen.position for tag, seen in decision.seen.items() if seen.id is not None}
        return KnownState(state, positions) if positions else None

    def keep(self, place: SnapshotPlace, known: KnownState, decision: Decision) -> Steps[bool]:
        """Write a snapshot."""
        ids = {tag: seen.id for tag, seen in decision.seen.items() if seen.id is not None}
        return (yield from keep_decision_steps(self._sql, place, known, ids))

    @cached_property
    def _fingerprint(self) -> str:
        return model_fingerprint(self._fold, self._catalog, self._snapshots.version, self._model)


def _first(model: M, _: object) -> M:
    return model


def _itself(model: M) -> M:
    return model
