"""The keys of subjects: made and locked in the append's transaction, read for readers, destroyed by `forget`.

A row is a subject. It has the subject's key, wrapped with a master key. After `forget` the key is gone and the row
stays, so no append makes a new key unnoticed. An append that encrypts holds a share lock on the row until its
transaction ends, and `forget` waits for it: data committed before reads as redacted, later data is refused. Sync and
async share the steps (`eventkit.storage.db.execute` runs them).
"""

from collections.abc import Collection, Sequence
from functools import partial
from typing import NamedTuple

from eventkit.domain.header_values import shown
from eventkit.domain.master_keys import MasterKeys
from eventkit.domain.sealing import Cipher, SubjectKey, SubjectKeyId
from eventkit.errors import SubjectForgotten, SubjectKeyMissing
from eventkit.storage.db import Statement, Steps, text_array, text_in_schema

_READ = "select subject, key_id, key, master_key from {s}.subject_keys where subject = any(%(subjects)s::text[])"
# In order of subject, like every statement here that locks several rows: two of them cannot deadlock.
_LOCK = """select subject, key_id, key, master_key from {s}.subject_keys
 where subject = any(%(subjects)s::text[]) order by subject for share"""
_LOCK_FREE = """select subject, key_id, key, master_key from {s}.subject_keys
 where subject = any(%(subjects)s::text[]) order by subject for share skip locked"""
_CREATE = """insert into {s}.subject_keys (subject, key_id, key, master_key)
select subject, key_id, key, %(master_key)s
  from unnest(%(subjects)s::text[], %(key_ids)s::text[], %(keys)s::text[]) n(subject, key_id, key)
 order by subject collate "C"
on conflict (subject) do nothing returning subject"""
_FORGET = """insert into {s}.subject_keys as k (subject, forgotten_at, forgotten_by, reason)
values (%(subject)s::text, clock_timestamp(), coalesce(%(by)s::text, session_user), %(reason)s::text)
on conflict (subject) do update
   set key_id = null, key = null, master_key = null,
       forgotten_at = excluded.forgotten_at, forgotten_by = excluded.forgotten_by, reason = excluded.reason
 where k.key is not null
returning subject"""
_READMIT = """update {s}.subject_keys
   set key_id = %(key_id)s::text, key = %(key)s::text, master_key = %(master_key)s::text,
       forgotten_at = null, forgotten_by = null, reason = null
 where subject = %(subject)s::text and key is null
returning subject"""
_TO_ROTATE = """select subject, key_id, key, master_key from {s}.subject_keys
 where master_key <> %(master_key)s and subject > %(after)s::text
 order by subject limit %(limit)s::int"""
# Keys that open transactions have locked are left for the next run: the statement does not wait.
_ROTATE = """with n as (
  select * from unnest(%(subjects)s::text[], %(key_ids)s::text[], %(keys)s::text[]) n(subject, key_id, key)
), free as materialized (
  select k.subject from {s}.subject_keys k join n using (subject, key_id) order by k.subject for update of k skip locked
)
update {s}.subject_keys k set key = n.key, master_key = %(master_key)s
  from n join free using (subject) where k.subject = n.subject
returning k.subject"""
_COUNT = "select master_key, count(*) from {s}.subject_keys group by master_key order by master_key nulls last"
_SHOW = "select created_at, master_key, forgotten_at, forgotten_by, reason from {s}.subject_keys where subject = %s"


class KeySql:
    """The statements for one PostgreSQL schema, built once."""

    def __init__(self, schema: str) -> None:
        own = partial(text_in_schema, schema=schema)
        self.read, self.lock, self.lock_free, self.create = map(own, (_READ, _LOCK, _LOCK_FREE, _CREATE))
        self.forget, self.readmit, self.show = map(own, (_FORGET, _READMIT, _SHOW))
        self.to_rotate, self.rotate, self.count = map(own, (_TO_ROTATE, _ROTATE, _COUNT))


class Wrapped(NamedTuple):
    """A row with its wrapped key, in base64; without a key the subject was forgotten."""

    subject: str
    key_id: str | None
    key: str | None
    master_key: str | None

    def unwrapped(self, masters: MasterKeys) -> bytes | None:
        """Return the key; None where there is none."""
        if self.key is None or self.key_id is None or self.master_key is None:
            return None
        return masters.unwrap(self.key, self.master_key, self.subject, self.key_id)


def writing_keys(sql: KeySql, masters: MasterKeys, subjects: Collection[str]) -> Steps[dict[str, SubjectKey]]:
    """Lock the keys of subjects until the transaction ends, and make missing ones; raise SubjectForgotten."""
    rows = yield sql.lock, _subjects(subjects)
    missing = set(subjects) - {row[0] for row in rows}
    if missing:
        yield _creation(sql, masters, sorted(missing))
        rows += yield sql.lock, _subjects(missing)  # in a new snapshot: another transaction may have been first
    found = [Wrapped(*row) for row in rows]
    if forgotten := sorted(row.subject for row in found if row.key is None):
        raise SubjectForgotten(
            f"subject {forgotten[0]!r} was forgotten, and new personal data of it is refused: nothing was written; "
            "record the event without it, or with its redacted value, or readmit the subject (Privacy.readmit)"
        )
    return _keys(masters, found)


def free_keys(sql: KeySql, masters: MasterKeys, subjects: Collection[str]) -> Steps[dict[str, SubjectKey]]:
    """Lock the keys that exist and that no other transaction is changing."""
    rows = yield sql.lock_free, _subjects(subjects)
    return _keys(masters, [Wrapped(*row) for row in rows])


def reading_keys(
    sql: KeySql, masters: MasterKeys, wanted: Collection[SubjectKeyId]
) -> Steps[dict[SubjectKeyId, Cipher | None]]:
    """Read keys; return None for a destroyed one, and for one that is not the subject's.

    Raises SubjectKeyMissing where a subject has no row.
    """
    subjects = {each.subject for each in wanted}
    rows = yield sql.read, _subjects(subjects)
    found = {row[0]: Wrapped(*row) for row in rows}
    if missing := sorted(subjects - found.keys()):
        raise SubjectKeyMissing(
            f"the key of subject {shown(missing[0])} is not in this database: read where the event store is "
            "(projectors: --store-url), or without master keys, which reads personal data as redacted"
        )
    return {each: _cipher(masters, each.key, found[each.subject]) for each in wanted}


def _keys(masters: MasterKeys, rows: Sequence[Wrapped]) -> dict[str, SubjectKey]:
    keys = {row.subject: (row.key_id, row.unwrapped(masters)) for row in rows}
    return {subject: SubjectKey.of(key_id, key) for subject, (key_id, key) in keys.items() if key_id and key}


def _cipher(masters: MasterKeys, key_id: str, row: Wrapped) -> Cipher | None:
    key = row.unwrapped(masters) if row.key_id == key_id else None
    return None if key is None else SubjectKey.of(key_id, key).cipher


def _creation(sql: KeySql, masters: MasterKeys, subjects: Sequence[str]) -> Statement:
    new = [masters.new_key(subject) for subject in subjects]
    return sql.create, {
        "subjects": text_array(subjects),
        "key_ids": text_array(key_id for key_id, _ in new),
        "keys": text_array(key for _, key in new),
        "master_key": masters.current,
    }


def _subjects(subjects: Collection[str]) -> dict[str, str]:
    return {"subjects": text_array(sorted(subjects))}
