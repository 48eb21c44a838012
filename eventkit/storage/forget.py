"""Forgets people: destroys the key of a subject, in the caller's transaction. A service uses this class.

    privacy = Privacy(store)

    privacy.forget(session, "customer-42", reason="asked for it on the phone")
    store.append(session, shop.stream("customer", 42), CustomerForgotten())       # for read models to follow

From the commit on, personal data of that subject reads as its redacted values. A process that read before may cache the
key for a minute (`eventkit.storage.privacy.encryption.SECONDS`). Forgetting waits for open transactions that have
appended personal data of the subject, and later ones are refused. `eventkit.storage.privacy.subject_keys` has the
statements and the locks. This module also rotates master keys.
"""

from typing import Any, NamedTuple

import psycopg
from psycopg.errors import Diagnostic

from eventkit.domain.master_keys import MasterKeys
from eventkit.errors import ConfigurationError, InvalidEvent, StorageError
from eventkit.storage.db import Asynchronous, Executor, Steps, Synchronous, database_errors, text_array
from eventkit.storage.events import EventStore, encryption_of
from eventkit.storage.privacy import KeySql, Wrapped

_MAX_TEXT = 500  # characters
PAGE = 500  # keys that are rotated in one transaction


class Privacy:
    """The subjects of one store."""

    def __init__(self, store: EventStore) -> None:
        self._sealing = encryption_of(store)
        self._forget = Executor("Privacy.forget", writes=True, bind_arguments=store.bind_arguments, schema=store.schema)
        self._readmit = self._forget._replace(name="Privacy.readmit")

    def forget(
        self, connection: Synchronous, subject: str, *, reason: str | None = None, by: str | None = None
    ) -> bool:
        """Destroy a subject's key; return False where it was forgotten before.

        A subject without personal data is forgotten too: later personal data is refused. `by` is the database's user
        unless given. Raises InvalidEvent for a subject, reason or `by` that is empty, long or not printable.
        """
        self._sealing.cache.drop(subject)
        return self._forget.run(connection, forget_steps(self._sealing.sql, str(subject), reason=reason, by=by))

    async def forget_async(
        self, connection: Asynchronous, subject: str, *, reason: str | None = None, by: str | None = None
    ) -> bool:
        """Forget like `forget`, on an asynchronous session or connection."""
        self._sealing.cache.drop(subject)
        return await self._forget.run_async(
            connection, forget_steps(self._sealing.sql, str(subject), reason=reason, by=by)
        )

    def readmit(self, connection: Synchronous, subject: str) -> bool:
        """Accept personal data of a forgotten subject again, under a new key; the old data stays unreadable."""
        self._sealing.cache.drop(subject)
        return self._readmit.run(connection, self._readmission(subject))

    async def readmit_async(self, connection: Asynchronous, subject: str) -> bool:
        """Readmit like `readmit`, on an asynchronous session or connection."""
        self._sealing.cache.drop(subject)
        return await self._readmit.run_async(connection, self._readmission(subject))

    def _readmission(self, subject: str) -> Steps[bool]:
        if self._sealing.masters is None:
            raise ConfigurationError("a subject is readmitted with a new key: give the EventStore its master_keys")
        return readmit_steps(self._sealing.sql, self._sealing.masters, str(subject))


def forget_steps(sql: KeySql, subject: str, *, reason: str | None, by: str | None) -> Steps[bool]:
    """Destroy a subject's key and leave its row; return False where that was done before."""
    for name, value in (("subject", subject), ("reason", reason or "-"), ("by", by or "-")):
        if not (0 < len(value) <= _MAX_TEXT and value.isprintable()):
            raise InvalidEvent(f"{name} {value[:100]!r} cannot be recorded: give 1 to {_MAX_TEXT} printable characters")
    with database_errors():
        rows = yield sql.forget, {"subject": subject, "reason": reason, "by": by}
    return bool(rows)


def readmit_steps(sql: KeySql, masters: MasterKeys, subject: str) -> Steps[bool]:
    """Give a forgotten subject a new key; return False where it is not forgotten."""
    key_id, key = masters.new_key(subject)
    params = {"subject": subject, "key_id": key_id, "key": key, "master_key": masters.current}
    with database_errors():
        rows = yield sql.readmit, params
    return bool(rows)


def vacuum(connection: psycopg.Connection[Any], schema: str) -> str | None:
    """Remove a destroyed key from the table's file, on an autocommit connection; return a warning where it stays."""
    warnings: list[str] = []

    def note(warning: Diagnostic) -> None:
        warnings.append(warning.message_primary or "")

    connection.add_notice_handler(note)
    try:
        with database_errors():
            connection.execute(f'vacuum "{schema}".subject_keys'.encode())
    except StorageError as error:
        warnings.append(str(error))
    finally:
        connection.remove_notice_handler(note)
    if not warnings:
        return None
    return f"the destroyed key stays in the table's file until autovacuum runs: {warnings[0]}"


class Rotated(NamedTuple):
    """The number of keys that were wrapped again, and of those that open transactions had locked."""

    done: int
    left: int


def rotate(connection: psycopg.Connection[Any], schema: str, masters: MasterKeys) -> Rotated:
    """Wrap all keys with the current master key, on an autocommit connection; safe to stop and to run again."""
    sql, after, done, left = KeySql(schema), "", 0, 0
    while True:
        params = {"master_key": masters.current, "after": after, "limit": str(PAGE)}
        with database_errors():
            rows = [Wrapped(*row) for row in connection.execute(sql.to_rotate, params).fetchall()]
            if not rows:
                return Rotated(done, left)
            moved = len(connection.execute(sql.rotate, _again(masters, rows)).fetchall())
        done, left, after = done + moved, left + len(rows) - moved, rows[-1].subject


def _again(masters: MasterKeys, rows: list[Wrapped]) -> dict[str, str]:
    return {
        "subjects": text_array(row.subject for row in rows),
        "key_ids": text_array(row.key_id or "" for row in rows),
        "keys": text_array(masters.wrap(row.unwrapped(masters) or b"", row.subject, row.key_id or "") for row in rows),
        "master_key": masters.current,
    }


def on_connection(connection: psycopg.Connection[Any], steps: Steps[bool]) -> bool:
    """Run steps on one of eventkit's own connections, in its open transaction."""
    return Executor("privacy", writes=True, bind_arguments=None).run(connection, steps)
