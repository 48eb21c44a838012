"""Answers questions about a running system: the one place that the page, the commands and the metrics read.

An answer costs the same however many streams, events and dead letters there are: it reads by keys, and counts up to a
limit. Above the limit an amount is an estimate and says so; `exact=True` counts all rows. Nothing is written.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg

from eventkit.config import setting_origins
from eventkit.insights import (
    deadlines,
    event_names,
    event_search,
    operator_log,
    process_list,
    process_rows,
    relay_state,
    storage_sizes,
    stream_state,
)
from eventkit.insights.answers import (
    ActionInsight,
    CausedEvent,
    DeadLetterGroup,
    DeadLetterInsight,
    EventInsight,
    Page,
    ProcessInsight,
    ProcessRowInsight,
    ProjectionInsight,
    PublisherInsight,
    RelayInsight,
    SettingInsight,
    SizesInsight,
    StreamInsight,
    TimerInsight,
    TimersInsight,
)
from eventkit.insights.attention import Attention, observe, reported
from eventkit.insights.dead_letters import letter_groups, letter_pages
from eventkit.insights.projections import projection_state
from eventkit.insights.reader import InsightReader


class Insights:
    """The insights of one schema, over an open connection; one thread uses it at a time.

    The connection should be in autocommit: else each answer's snapshot stays open until you commit. `store` is the
    connection to the event store, where that is in another database than the read models. Every method with `after`
    returns a page: give it the `next` of the page before. A method raises ValueError for a key that is not of its list,
    and a StorageError where the database cannot answer.
    """

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        schema: str = "eventkit",
        *,
        store: psycopg.Connection[Any] | None = None,
    ) -> None:
        self._reader = InsightReader(connection, schema)
        self._store = self._reader if store is None else InsightReader(store, schema)

    def attention(self) -> list[Attention]:
        """Return the present problems, the most urgent first; an empty list when all is well."""
        return reported(observe(self, self._reader, self._store))

    def relay(self, *, exact: bool = False) -> RelayInsight:
        """Return the relay's parts and leaders, unsent events, and topics that it holds back."""
        return relay_state.relay(self._store, exact=exact)

    def publisher(self) -> PublisherInsight:
        """Return whether the relay or Debezium sends the events, and the state of Debezium's slot."""
        return relay_state.publisher(self._store)

    def projections(self, *, after: str | None = None, limit: int = 50, exact: bool = False) -> Page[ProjectionInsight]:
        """Return projections in order of name, with their lag; `exact` compares every stream."""
        return projection_state.page(self._reader, self._store, after=after, limit=limit, exact=exact)

    def projection(self, name: str, *, exact: bool = False) -> ProjectionInsight | None:
        """Return one projection; None where it is not registered."""
        return projection_state.one(self._reader, self._store, name, exact=exact)

    def dead_letter_groups(self, *, limit: int = 100, exact: bool = False) -> list[DeadLetterGroup]:
        """Return the dead letters by projection, cause and category, the largest group first."""
        return letter_groups.groups(self._reader, limit=limit, exact=exact)

    def dead_letters(  # noqa: PLR0913 each says which of all letters
        self,
        *,
        parked_by: str | None = None,
        cause: str | None = None,
        category: str | None = None,
        stream: str | None = None,
        type: str | None = None,  # noqa: A002 the event's type
        after: str | None = None,
        limit: int = 50,
        payload: bool = False,
    ) -> Page[DeadLetterInsight]:
        """Return the dead letters that match all given values, the newest first.

        `parked_by` is `relay` or a projection's name. `payload` adds data, headers and the error's detail, which may
        quote personal data; a page then has eight letters at most.
        """
        wanted = letter_pages.LetterChoice(parked_by, cause, category, stream, type)
        return letter_pages.page(self._reader, wanted, after=after, limit=limit, payload=payload)

    def dead_letter(self, letter_id: int, *, payload: bool = False, exact: bool = False) -> DeadLetterInsight | None:
        """Return a dead letter and the number of events behind it; None where there is none with this id."""
        return letter_pages.letter(self._reader, letter_id, payload=payload, exact=exact)

    def timers(self, *, exact: bool = False) -> TimersInsight:
        """Return how many deadlines wait, are due and are overdue."""
        return deadlines.timers(self._store, exact=exact)

    def timers_page(
        self, *, category: str | None = None, stream: str | None = None, after: str | None = None, limit: int = 50
    ) -> Page[TimerInsight]:
        """Return deadlines, the soonest first."""
        return deadlines.page(self._store, category=category, stream=stream, after=after, limit=limit)

    def processes(self, *, after: str | None = None, limit: int = 200) -> Page[ProcessInsight]:
        """Return the processes in order of role and name; one that died or hangs is marked as gone."""
        return process_list.page(self._reader, after, limit)

    def process_rows(
        self, manager: str, *, key: Sequence[str] = (), after: str | None = None, limit: int = 50
    ) -> Page[ProcessRowInsight]:
        """Return the rows of a process manager, from the service's own table, in order of their key, or one by it."""
        return process_rows.page(self._reader, manager, key=key, after=after, limit=limit)

    def process_key(self, manager: str) -> tuple[str, ...] | None:
        """Return the columns of a process manager's key; None where there is none of this name."""
        return process_rows.key_columns(self._reader, manager)

    def sizes(self, *, exact: bool = False) -> SizesInsight:
        """Return the sizes of the tables, the largest first, and of the inbox."""
        return storage_sizes.sizes(self._reader, exact=exact)

    def events(  # noqa: PLR0913 each says which of all events
        self,
        *,
        stream: str | None = None,
        id: str | UUID | None = None,  # noqa: A002 the event's id
        type: str | None = None,  # noqa: A002 the event's type
        category: str | None = None,
        correlation_id: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        after: str | None = None,
        limit: int = 50,
        payload: bool = False,
    ) -> Page[EventInsight]:
        """Return the events that match all given values, the newest first.

        A call looks at 10,000 events at most. So a page may be short, or empty, and have a `next`. `until` is
        exclusive. `payload` adds data and the user's metadata as stored: personal data stays encrypted. A page then
        ends at 8 MB of data.
        """
        wanted = event_search.EventFilter(
            stream, None if id is None else str(id), type, category, correlation_id, since, until
        )
        return event_search.search(self._store, wanted, after=after, limit=limit, payload=payload)

    def event(self, event_id: str | UUID, *, payload: bool = False) -> EventInsight | None:
        """Return an event, and whether it is amended or unsent; None where there is none with this id."""
        return event_search.event(self._store, event_id, payload=payload)

    def event_types(self) -> list[str]:
        """Return the types of the stored events, in order; a hundred at most."""
        return event_names.types(self._store)

    def categories(self) -> list[str]:
        """Return the categories of the streams, in order; a hundred at most."""
        return event_names.categories(self._store)

    def stream(self, name: str) -> StreamInsight | None:
        """Return a stream and how far projections have applied it; None where it does not exist."""
        return stream_state.stream(self._reader, name)

    def causation_tree(self, event_id: str | UUID, *, limit: int = 200, payload: bool = False) -> list[CausedEvent]:
        """Return an event and all its effects across streams, each followed by its own effects."""
        return event_search.causation_tree(self._store, event_id, limit=limit, payload=payload)

    def settings(self, options: Mapping[str, str | None] | None = None) -> list[SettingInsight]:
        """Return the settings of this process with their origins; `options` are those that override them."""
        return [
            SettingInsight(name=name, value=value, origin=origin)
            for name, value, origin in setting_origins(**(options or {}))
        ]

    def actions(self, *, after: str | None = None, limit: int = 50) -> Page[ActionInsight]:
        """Return the actions of operators, the newest first."""
        return operator_log.page(self._reader, after=after, limit=limit)
