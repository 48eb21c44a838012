"""Encrypts the personal values of appended events, and decrypts those of read events, with their subjects' keys.

Encryption ("sealing") is part of the append's steps: the keys are locked or made in the caller's transaction.
Decryption ("opening") reads unknown keys in one statement a page, and caches up to `KEPT` of them for `SECONDS`. During
that time a process may still decrypt data of a subject that another process has forgotten. Without master keys nothing
is decrypted, and personal data reads as redacted.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple
from uuid import UUID

from msgspec.structs import replace

from eventkit.domain.codec import Encoded, Sealable, Values, marked
from eventkit.domain.envelope import EncodedEvent
from eventkit.domain.master_keys import MasterKeys
from eventkit.domain.sealing import (
    Cipher,
    SealingContext,
    SubjectKey,
    SubjectKeyId,
    opened_data,
    sealed_data,
    sealed_in,
)
from eventkit.errors import ConfigurationError
from eventkit.storage.db import Steps
from eventkit.storage.entry import Entry
from eventkit.storage.privacy.subject_keys import KeySql, free_keys, reading_keys, writing_keys

KEPT = 10_000  # cached keys
SECONDS = 60.0  # until a cached key is read again


class KeyCache:
    """A cache of keys for decryption, by subject and id; the oldest are dropped first. Threads may share it."""

    def __init__(self, *, kept: int = KEPT, seconds: float = SECONDS) -> None:
        self._kept, self._seconds = kept, seconds
        self._keys: dict[SubjectKeyId, tuple[float, Cipher | None]] = {}

    def known(self, ids: Collection[SubjectKeyId]) -> dict[SubjectKeyId, Cipher | None]:
        """Return the cached keys that are not too old."""
        oldest = time.monotonic() - self._seconds
        found = {each: kept for each in ids if (kept := self._keys.get(each)) is not None}
        return {each: cipher for each, (at, cipher) in found.items() if at >= oldest}

    def keep(self, ciphers: Mapping[SubjectKeyId, Cipher | None]) -> None:
        """Cache keys that were just read."""
        now = time.monotonic()
        for each, cipher in ciphers.items():
            self._keys.pop(each, None)
            self._keys[each] = now, cipher
        for each in list(self._keys)[: max(0, len(self._keys) - self._kept)]:
            self._keys.pop(each, None)

    def drop(self, subject: str) -> None:
        """Drop the keys of a subject."""
        for each in list(self._keys):
            if each.subject == subject:
                self._keys.pop(each, None)


class Unsealed(NamedTuple):
    """An event before encryption, with its stream and its id."""

    stream: str
    id: UUID
    event: Encoded

    def personal(self) -> Mapping[str, Values]:
        """Return the values to encrypt, by subject."""
        return self.event.personal(self.stream) if isinstance(self.event, Sealable) else {}

    def sealed(self, source: str, keys: Mapping[str, SubjectKey]) -> Encoded:
        """Return the event with its personal values encrypted."""
        event = self.event
        if not isinstance(event, Sealable) or not self.personal():
            return event
        place = SealingContext(source, self.stream, str(self.id), event.type, event.schema_version)
        return Encoded(event.type, event.schema_version, sealed_data(event, place, keys), event.tags)


class Encryption:
    """Encrypts and decrypts for one PostgreSQL schema; without master keys it only refuses to encrypt."""

    def __init__(self, schema: str, masters: MasterKeys | None, *, cache: KeyCache | None = None) -> None:
        self.sql = KeySql(schema)
        self.masters = masters
        self.cache = cache or KeyCache()

    def sealed_entries(self, source: str, entries: list[Entry]) -> Steps[list[Entry]]:
        """Return entries whose events' personal values are encrypted."""
        events = [
            Unsealed(entry.stream, event_id, event)
            for entry in entries
            for event_id, event in zip(entry.ids, entry.events, strict=True)
        ]
        sealed = iter((yield from self.sealed(source, events)))
        return [replace(entry, events=[next(sealed) for _ in entry.events]) for entry in entries]

    def sealed(self, source: str, events: Sequence[Unsealed]) -> Steps[list[Encoded]]:
        """Return events whose personal values are encrypted for their stream and id."""
        subjects = {subject for one in events for subject in one.personal()}
        keys = (yield from writing_keys(self.sql, self._masters(), subjects)) if subjects else {}
        return [one.sealed(source, keys) for one in events]

    def sealed_if_free(self, source: str, one: Unsealed) -> Steps[Encoded | None]:
        """Encrypt like `sealed`, without waiting and without new keys; None where a key is missing or locked."""
        subjects = one.personal()
        if not subjects:
            return one.event
        keys = yield from free_keys(self.sql, self._masters(), subjects)
        return one.sealed(source, keys) if keys.keys() == subjects.keys() else None

    def open(self, events: Sequence[EncodedEvent]) -> Steps[list[EncodedEvent]]:
        """Decrypt events in place; return those in which a value stays redacted."""
        found = [(event, opened) for event in events if marked(event.data) and (opened := sealed_in(event)) is not None]
        if not found or self.masters is None:
            return [event for event, _ in found]
        ciphers = yield from self._ciphers({key for _, opened in found for key in opened.keys})
        for event, opened in found:
            event.data, event.opened = opened_data(event, opened, ciphers), True
        return [event for event, opened in found if any(ciphers[key] is None for key in opened.keys)]

    def _ciphers(self, wanted: AbstractSet[SubjectKeyId]) -> Steps[dict[SubjectKeyId, Cipher | None]]:
        ciphers = self.cache.known(wanted)
        if unknown := wanted - ciphers.keys():
            read = yield from reading_keys(self.sql, self._masters(), unknown)
            self.cache.keep(read)
            ciphers |= read
        return ciphers

    def _masters(self) -> MasterKeys:
        if self.masters is None:
            raise ConfigurationError(
                "an event has personal data, and there is no master key to encrypt it with: give "
                "EventStore(…, master_keys=eventkit.config.load().master_keys), and set EVENTKIT_MASTER_KEYS"
            )
        return self.masters
