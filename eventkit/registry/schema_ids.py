"""The ids of registered schemas for the relay, by topic, source, type and schema version.

An id is looked up when the first event of its type and version comes, and again at each start. It is kept in the
database, so that a relay sends all known types while the registry is away. There is no request for each event.

A type without a registered schema holds its topic: its events stay in the outbox, in order, and are sent as soon as
the schema is registered. Such a type is a fault of a deployment, so nothing is parked.
"""

import logging
import time
from collections.abc import Iterable, Sequence
from typing import Any

import psycopg

from eventkit.errors import RegistryError, RegistryUnavailable
from eventkit.observability.liveness import waiting_for
from eventkit.registry.client import SchemaRegistry
from eventkit.registry.lookup import Lookup, Wanted
from eventkit.registry.subjects import SubjectNames
from eventkit.storage.schema_ids import KnownSchema, known_schemas, record_schema

logger = logging.getLogger("eventkit.registry")

Key = tuple[str, str, str, int]
"""Topic, source, type and schema version of events."""

_AWAY_TIME = 30.0  # seconds without a request after the registry did not answer
_PAGE_TIME = 2.0  # seconds that the unknown types of one page may hold up the reader
_START_TIME = 15.0  # seconds for the ids that are kept in the database, at a start
_OWN_TYPES = "eventkit."  # a tombstone has no schema


class SchemaIds:
    """The known ids of one relay process. Only the reading thread looks ids up; others ask for known ones."""

    def __init__(self, registry: SchemaRegistry, names: SubjectNames) -> None:
        """Look up in `registry`, whose subjects are named by `names`."""
        self.registry = registry
        self._lookup = Lookup(registry)
        self._names = names
        self._stored: dict[Wanted, KnownSchema] = {}
        self._known: dict[Key, KnownSchema | None] = {}  # None: a type without a schema
        self._away_until = 0.0  # on the monotonic clock
        self._away = ""

    def of(self, key: Key) -> KnownSchema | None:
        """Return the schema of a known key, None for a type of eventkit itself; KeyError for an unknown key."""
        return self._known[key]

    def load(self, connection: psycopg.Connection[Any], schema: str) -> None:
        """Read the ids that are kept in the database, and look each up again; without an answer, they are used.

        Raise RegistryError if none is kept and the registry does not answer, or not as a registry.
        """
        kept = {(one.subject, one.schema_version): one for one in self._kept(connection, schema)}
        self._known.clear()
        self._stored = dict(kept)
        if not kept:
            self.registry.check()
        try:
            deadline = time.monotonic() + _START_TIME
            for wanted in kept:
                self._look_up(connection, schema, wanted, deadline=deadline)
        except RegistryError as error:
            self._stored = kept | self._stored
            self._note_away(error)
            logger.warning(
                "%d schema ids of an earlier start are used, and the topics of other types are held: %s",
                *(len(self._stored), error),
            )

    def refused(self, connection: psycopg.Connection[Any], schema: str, keys: Iterable[Key]) -> dict[str, str]:
        """Look up unknown keys; return the topics of those without an id, each with the reason."""
        reasons: dict[str, str] = {}
        deadline = time.monotonic() + _PAGE_TIME
        for key in keys:
            if key not in self._known and (reason := self._find(connection, schema, key, deadline)):
                reasons.setdefault(key[0], reason)
        return reasons

    def _kept(self, connection: psycopg.Connection[Any], schema: str) -> Sequence[KnownSchema]:
        return known_schemas(connection, schema, registry=self.registry.place)

    def _find(self, connection: psycopg.Connection[Any], schema: str, key: Key, deadline: float) -> str:
        """Make a key known; return the reason if there is no id."""
        topic, source, event_type, schema_version = key
        if event_type.startswith(_OWN_TYPES):
            self._known[key] = None
            return ""
        subject = self._names.subject(topic, source, event_type)
        wanted = f"the schema of {event_type!r} of {source!r}, version {schema_version}"
        question = subject, schema_version
        try:
            found = self._stored.get(question) or self._answer(connection, schema, question, deadline)
        except RegistryUnavailable as error:
            return f"{wanted}, is not known yet: {error}"
        except RegistryError as error:
            return f"{wanted}, is not known: {error}"
        if found is None:
            return (
                f"{wanted}, is not registered as subject {subject!r} at {self.registry.place}: run `eventkit catalog "
                "register` with the catalog of the release that wrote the event"
            )
        self._known[key] = found
        return ""

    def _answer(
        self, connection: psycopg.Connection[Any], schema: str, question: Wanted, deadline: float
    ) -> KnownSchema | None:
        now = time.monotonic()
        if now < self._away_until:
            raise RegistryUnavailable(self._away)
        if now > deadline:
            raise RegistryUnavailable("other types are looked up first")
        try:
            with waiting_for("the schema registry"):
                return self._look_up(connection, schema, question, deadline=deadline)
        except RegistryUnavailable as error:
            self._note_away(error)
            raise

    def _note_away(self, error: RegistryError) -> None:
        self._away, self._away_until = str(error), time.monotonic() + _AWAY_TIME

    def _look_up(
        self, connection: psycopg.Connection[Any], schema: str, wanted: Wanted, *, deadline: float
    ) -> KnownSchema | None:
        """Return the newest registered schema of a schema version, and keep its id."""
        self._stored.pop(wanted, None)
        version = self._lookup.newest(wanted, deadline=deadline)
        if version is None:
            return None
        found = KnownSchema(self.registry.place, *wanted, version.id, version.guid)
        record_schema(connection, schema, found)
        self._stored[wanted] = found
        return found
