"""Pauses a projection, or a topic at the relay, and resumes it; each action is recorded with its actor and reason.

A pause is a row, so it outlives all processes. Projectors read it with their fence, in the statement that begins a
batch; the relay reads the paused topics each second. Both leave the events where they are: in the broker's group, in
the store, in the outbox. An append cannot wait, so a projection that appends apply inline is refused.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

import msgspec
import psycopg

from eventkit.errors import PauseRefused
from eventkit.storage.db import database_errors, in_schema
from eventkit.storage.events import known_topics

Kind = Literal["projection", "topic"]

_MAX_TEXT = 500  # characters of an actor's name and of a reason
_MAX_NAMES = 20  # known names in an error message

# Actions wait for each other; projectors and relays, which only read, do not wait. A deleted projection takes its pause
# with it: so its row is locked first.
_LOCK = "lock table {s}.pauses in share row exclusive mode"
_FIND = """select kind, name, paused_by, reason, paused_at from {s}.pauses
            where kind = %(kind)s and name = %(name)s"""
_ALL = "select kind, name, paused_by, reason, paused_at from {s}.pauses order by kind, name"
_PAUSE = """insert into {s}.pauses (kind, name, paused_by, reason) values (%(kind)s, %(name)s, %(actor)s, %(reason)s)
            returning kind, name, paused_by, reason, paused_at"""
_RESUME = "delete from {s}.pauses where kind = %(kind)s and name = %(name)s"
_RECORD_RELEASE = """insert into {s}.operator_actions (actor, action, subject, detail)
             values (%(actor)s, 'release', 'topic ' || %(name)s, 'the claim of a relay at the broker')"""
_RECORD = """insert into {s}.operator_actions (actor, action, subject, detail)
             values (%(actor)s, %(action)s, %(kind)s || ' ' || %(name)s, %(reason)s)"""
# A projector's first start writes `server`; an append that registers its inline projection does not.
_PROJECTION = "select server is not null from {s}.projections where name = %(name)s for key share"
_PROJECTIONS = "select name from {s}.projections order by name"


class Pause(msgspec.Struct, frozen=True):
    """A paused projection or topic: since when, who paused it, and why."""

    kind: Kind
    name: str
    paused_by: str
    reason: str
    paused_at: datetime


class PauseOutcome(msgspec.Struct, frozen=True):
    """The result of an action: the pause that it made, found or ended, and whether it has changed anything."""

    pause: Pause | None
    changed: bool


class Pauses:
    """The pauses of one schema, over an autocommit connection."""

    def __init__(self, connection: psycopg.Connection[Any], schema: str) -> None:
        self._connection = connection
        self._schema = schema

    def all(self) -> list[Pause]:
        """Return all pauses, by kind and name."""
        with database_errors():
            return [Pause(*row) for row in self._execute(_ALL)]

    def find(self, kind: Kind, name: str) -> Pause | None:
        """Return the pause of a projection or a topic; None if it is not paused."""
        with database_errors():
            row = self._execute(_FIND, kind=kind, name=name).fetchone()
        return Pause(*row) if row else None

    def pause(self, kind: Kind, name: str, *, actor: str, reason: str = "") -> PauseOutcome:
        """Pause a projection or a topic, and record who did it and why; an existing pause stays as it is.

        Raise PauseRefused for an unknown name, with the known ones, and for a projection that appends apply inline.
        """
        _check(name=name, actor=actor, reason=reason)
        with database_errors(), self._connection.transaction():
            if not self._is_run(kind, name):
                raise PauseRefused(
                    f"projection {name!r} was never run by a projector: the service's appends apply it inline, and an "
                    "append cannot wait; run it with a projector instead, or stop the service"
                )
            self._execute(_LOCK)
            found = self.find(kind, name)
            if found is not None:
                return PauseOutcome(found, changed=False)
            row = self._execute(_PAUSE, kind=kind, name=name, actor=actor, reason=reason).fetchone()
            self._execute(_RECORD, action="pause", kind=kind, name=name, actor=actor, reason=reason)
            # crash point: paused, not committed -> nothing has happened
        return PauseOutcome(Pause(*row) if row else None, changed=True)

    def resume(self, kind: Kind, name: str, *, actor: str, reason: str = "") -> PauseOutcome:
        """End a pause, and record who did it and why; do nothing if there is none.

        Raise PauseRefused for an unknown name, with the known ones.
        """
        _check(name=name, actor=actor, reason=reason)
        with database_errors(), self._connection.transaction():
            self._execute(_LOCK)
            found = self.find(kind, name)
            if found is not None:
                self._execute(_RESUME, kind=kind, name=name)
                self._execute(_RECORD, action="resume", kind=kind, name=name, actor=actor, reason=reason)
            # crash point: resumed, not committed -> it is paused as before
        if found is None:
            self._is_run(kind, name)
        return PauseOutcome(found, changed=found is not None)

    def record_release(self, topic: str, *, actor: str) -> None:
        """Record that an operator has released the claim on a topic."""
        _check(name=topic, actor=actor)
        with database_errors():
            self._execute(_RECORD_RELEASE, name=topic, actor=actor)

    def _is_run(self, kind: Kind, name: str) -> bool:
        """Return whether a projector, or the relay, can heed a pause; raise PauseRefused if nothing has the name."""
        if kind == "topic":
            topics = known_topics(self._connection, self._schema)
            if name in topics:
                return True
            raise PauseRefused(f"no event was sent to a topic {name!r}, or waits for it: {_known(topics)}")
        with database_errors():
            row = self._execute(_PROJECTION, name=name).fetchone()
            if row is not None:
                return bool(row[0])
            projections = [known for (known,) in self._execute(_PROJECTIONS)]
        raise PauseRefused(f"no projection {name!r} in this database: {_known(projections)}")

    def _execute(self, statement: str, **params: str) -> psycopg.Cursor[Any]:
        text = in_schema(statement, self._schema)
        return self._connection.execute(text, params, binary=True)  # by no DateStyle of the session


def _check(**texts: str) -> None:
    """Raise PauseRefused for a name, an actor or a reason that cannot be recorded and shown."""
    for what, value in texts.items():
        if len(value) > _MAX_TEXT or not value.isprintable() or not (value or what == "reason"):
            raise PauseRefused(
                f"the {what} {value[:100]!r} cannot be recorded: give up to {_MAX_TEXT} printable characters"
            )


def _known(names: Iterable[str]) -> str:
    found = sorted(names)
    more = f" and {len(found) - _MAX_NAMES} more" if len(found) > _MAX_NAMES else ""
    return f"there are {', '.join(found[:_MAX_NAMES])}{more}" if found else "there is none yet"
