"""How personal values lie in an event's JSON: sealed in one member, by subject, and bound to the event.

    {"customer_id": 42, "email": "[redacted]", "$personal": {"customer-42": {"key": "<id>", "sealed": "<base64>"}}}

AES-GCM authenticates the event's source, stream, id, type and schema version with it: it opens nowhere else. Its length
tells the values' length to within 32 bytes.
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

_BLOCK = 32
_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


Cipher = Any
"""AES-GCM with a subject's key."""


class SubjectKey(NamedTuple):
    """A subject's key: its id is random, so that no two keys of any database are taken for each other."""

    id: str
    cipher: Cipher

    @classmethod
    def of(cls, key_id: str, key: bytes) -> "SubjectKey":
        """Make the cipher."""
        return cls(key_id, master_keys.cipher(key))


class Sealed(msgspec.Struct, frozen=True):
    """The values of one subject, sealed, and the id of the key that opens them."""

    key: str
    sealed: str


class SealedParts(NamedTuple):
    """An event's fields without the sealed member, and what is sealed, by subject."""

    fields: dict[str, msgspec.Raw]
    sealed: Mapping[str, Sealed]


_members = msgspec.json.Decoder(dict[str, Sealed]).decode


class SealingContext(NamedTuple):
    """What sealed values are bound to."""

    source: str
    stream: str
    event_id: str
    type: str
    schema_version: int

    def bound(self, subject: str, key_id: str) -> bytes:
        """Return what is authenticated."""
        return msgspec.json.encode(("eventkit", *map(str, self), str(subject), key_id))  # a stream id is more than text


def sealed_data(event: Sealable, place: SealingContext, keys: Mapping[str, SubjectKey]) -> str:
    """Return an event's JSON with its personal values sealed; `keys` has a key for each of its subjects."""
    member = {
        subject: _sealed(values, place, subject, keys[subject])
        for subject, values in event.personal(place.stream).items()
    }
    return f'{event.data[:-1]},"{MEMBER}":{msgspec.json.encode(member).decode()}}}'


def sealed_in(event: EncodedEvent) -> SealedParts | None:
    """Return what is sealed in an event; None where nothing is."""
    try:
        fields = _object(event.data)
        member = fields.pop(MEMBER, None)
        return None if member is None else SealedParts(fields, _members(member))
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise UndecodableEvent(f"{_named(event)}: what is sealed in it cannot be read: {error}") from error


def opened_data(event: EncodedEvent, opened: SealedParts, ciphers: Mapping[str, Cipher | None]) -> bytes:
    """Return an event's JSON with the values whose key is there, by its id, and with redacted values elsewhere."""
    place = SealingContext(event.source, event.stream, event.id, event.type, event.schema_version)
    for subject, one in opened.sealed.items():
        cipher = ciphers[one.key]
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
