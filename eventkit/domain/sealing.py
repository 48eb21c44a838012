"""Encryption of personal values in an event's JSON: one member holds them, by subject.

    {"customer_id": 42, "email": "[redacted]", "$personal": {"customer-42": {"key": "<id>", "sealed": "<base64>"}}}

The associated data of AES-GCM is the event's source, stream, id, type and schema version, so the values cannot be
decrypted in another event. The length of the ciphertext reveals the length of the values to within 32 bytes.
"""

import binascii
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from eventkit.domain import master_keys
from eventkit.domain.codec import MEMBER, Sealable, Values
from eventkit.domain.envelope import EncodedEvent
from eventkit.errors import UndecodableEvent

_BLOCK = 32  # bytes, to which the plain text is padded
_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


Cipher = Any
"""AES-GCM with a subject's key."""


class SubjectKey(NamedTuple):
    """A subject's key; its id is random, so that keys of different databases cannot be confused."""

    id: str
    cipher: Cipher

    @classmethod
    def of(cls, key_id: str, key: bytes) -> "SubjectKey":
        """Return a key with its cipher."""
        return cls(key_id, master_keys.cipher(key))


class SubjectKeyId(NamedTuple):
    """A key as an event names it. The id alone is no name: a forged event may give another subject's."""

    subject: str
    key: str


class Sealed(msgspec.Struct, frozen=True):
    """The encrypted values of one subject, and the id of the key that decrypts them."""

    key: str
    sealed: str


class SealedParts(NamedTuple):
    """An event's fields without the sealed member, and the sealed values by subject."""

    fields: dict[str, msgspec.Raw]
    sealed: Mapping[str, Sealed]

    @property
    def keys(self) -> list[SubjectKeyId]:
        """The keys that decrypt the values."""
        return [SubjectKeyId(subject, one.key) for subject, one in self.sealed.items()]


_members = msgspec.json.Decoder(dict[str, Sealed]).decode


class SealingContext(NamedTuple):
    """The event that sealed values are bound to."""

    source: str
    stream: str
    event_id: str
    type: str
    schema_version: int

    def bound(self, subject: str, key_id: str) -> bytes:
        """Return the associated data."""
        return msgspec.json.encode(("eventkit", *map(str, self), str(subject), key_id))  # str: a StreamId is a subclass


def sealed_data(event: Sealable, place: SealingContext, keys: Mapping[str, SubjectKey]) -> str:
    """Return an event's JSON with its personal values encrypted; `keys` has a key for each of its subjects."""
    member = {
        subject: _sealed(values, place, subject, keys[subject])
        for subject, values in event.personal(place.stream).items()
    }
    return f'{event.data[:-1]},"{MEMBER}":{msgspec.json.encode(member).decode()}}}'


def sealed_in(event: EncodedEvent) -> SealedParts | None:
    """Return the sealed parts of an event; None if it has none. Raise UndecodableEvent if they cannot be read."""
    try:
        fields = _object(event.data)
        member = fields.pop(MEMBER, None)
        return None if member is None else SealedParts(fields, _members(member))
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise UndecodableEvent(f"{_named(event)}: its sealed values cannot be read: {error}") from error


def opened_data(event: EncodedEvent, opened: SealedParts, ciphers: Mapping[SubjectKeyId, Cipher | None]) -> bytes:
    """Return an event's JSON with decrypted values; a value stays redacted if `ciphers` has None for its key."""
    place = SealingContext(event.source, event.stream, event.id, event.type, event.schema_version)
    for subject, one in opened.sealed.items():
        cipher = ciphers[SubjectKeyId(subject, one.key)]
        if cipher is not None:
            try:
                plain = master_keys.unseal(cipher, b64decode(one.sealed), place.bound(subject, one.key))
            except (ValueError, binascii.Error) as error:
                raise UndecodableEvent(
                    f"{_named(event)}: the personal data of {subject!r} in it was changed, or belongs to another event"
                ) from error
            opened.fields.update(_object(plain))
    return msgspec.json.encode(opened.fields)


def _sealed(values: Values, place: SealingContext, subject: str, key: SubjectKey) -> Sealed:
    plain = msgspec.json.encode(values)
    padded = plain.ljust(-len(plain) % _BLOCK + len(plain))  # JSON may end with spaces
    return Sealed(key.id, b64encode(master_keys.seal(key.cipher, padded, place.bound(subject, key.id))).decode())


def _named(event: EncodedEvent) -> str:
    return f"{event.type} at version {event.version} of {event.stream!r}"
