"""Master keys: they wrap the keys of subjects, and are the only secret outside the database.

    EVENTKIT_MASTER_KEYS=2026:<base64 of 32 bytes>,2025:<base64 of 32 bytes>

The first is current: it wraps new keys, and `eventkit privacy rotate` wraps the existing ones with it. Without its
master key, a wrapped key cannot be read any more, in a backup neither.
"""

import base64
import binascii
import os
import re
from importlib import import_module
from typing import Any

import msgspec

from eventkit.errors import ConfigurationError

BYTES = 32
_NONCE, _KEY_ID = 12, 9  # bytes
_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_EXAMPLE = "<id>:<base64 of 32 bytes>, as `eventkit privacy new-key` prints it; several are separated by commas"


class MasterKeys:
    """Master keys by their ids; the first is current. `repr` and error messages never show a key."""

    def __init__(self, keys: dict[str, bytes]) -> None:
        self._keys = dict(keys)
        for name, key in self._keys.items():
            if not _ID.fullmatch(name) or len(key) != BYTES:
                raise ConfigurationError(f"master key {name[:64]!r} cannot be used: it must be {_EXAMPLE}")
        if not self._keys:
            raise ConfigurationError(f"no master key is given: give {_EXAMPLE}")
        self.current = next(iter(self._keys))

    def __repr__(self) -> str:
        return f"<MasterKeys {', '.join(self._keys)}>"

    @classmethod
    def parse(cls, text: str) -> "MasterKeys":
        """Read the keys of a setting; raise ConfigurationError, without showing them, if they cannot be read."""
        keys: dict[str, bytes] = {}
        for number, part in enumerate(filter(None, (part.strip() for part in text.split(","))), 1):
            name, _, key = part.partition(":")
            if name in keys:
                raise ConfigurationError(f"the master key {name[:64]!r} is there twice: each id names one key")
            try:
                keys[name] = base64.b64decode(key, validate=True)
            except (binascii.Error, ValueError):
                raise ConfigurationError(f"master key number {number} cannot be read: it must be {_EXAMPLE}") from None
        return cls(keys)

    @property
    def text(self) -> str:
        """The keys in the form of the setting."""
        return ",".join(f"{name}:{base64.b64encode(key).decode()}" for name, key in self._keys.items())

    @staticmethod
    def generate(name: str) -> str:
        """Return a new key in the form of the setting."""
        text = f"{name}:{base64.b64encode(os.urandom(BYTES)).decode()}"
        MasterKeys.parse(text)
        return text

    def new_key(self, subject: str) -> tuple[str, str]:
        """Make a key for a subject; return its id, and the key in base64, wrapped by the current master key."""
        key_id = base64.urlsafe_b64encode(os.urandom(_KEY_ID)).decode()
        return key_id, self.wrap(os.urandom(BYTES), subject, key_id)

    def wrap(self, key: bytes, subject: str, key_id: str) -> str:
        """Encrypt a subject's key with the current master key, in base64."""
        sealed = seal(cipher(self._keys[self.current]), key, _bound(subject, key_id))
        return base64.b64encode(sealed).decode()

    def unwrap(self, wrapped: str, master_key: str, subject: str, key_id: str) -> bytes:
        """Decrypt a subject's key; raise ConfigurationError if its master key is not given, or does not fit."""
        key = self._keys.get(master_key)
        if key is None:
            raise ConfigurationError(
                f"the key of subject {subject!r} is wrapped by the master key {master_key!r}, which is not among those "
                f"given ({', '.join(self._keys)}): give it too, until `eventkit privacy rotate` has wrapped all again"
            )
        try:
            return unseal(cipher(key), base64.b64decode(wrapped), _bound(subject, key_id))
        except ValueError as error:
            raise ConfigurationError(
                f"the master key {master_key!r} does not unwrap the key of subject {subject!r}: it is another key of "
                "that id, or the row was changed"
            ) from error


def cipher(key: bytes) -> Any:
    """Return AES-GCM with a key; raise ConfigurationError if the extra `privacy` is not installed."""
    try:
        return import_module("cryptography.hazmat.primitives.ciphers.aead").AESGCM(key)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "personal data needs the package cryptography: pip install 'eventkit-outbox[privacy]'"
        ) from error


def seal(with_cipher: Any, plain: bytes, bound_to: bytes) -> bytes:
    """Return nonce and ciphertext under a random nonce, with `bound_to` as associated data."""
    nonce = os.urandom(_NONCE)
    sealed: bytes = nonce + with_cipher.encrypt(nonce, plain, bound_to)
    return sealed


def unseal(with_cipher: Any, sealed: bytes, bound_to: bytes) -> bytes:
    """Decrypt; raise ValueError if the data was changed, or has another key or associated data."""
    try:
        plain: bytes = with_cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], bound_to)
    except Exception as error:
        raise ValueError("it cannot be authenticated") from error  # InvalidTag, whose message is empty
    return plain


def _bound(subject: str, key_id: str) -> bytes:
    return msgspec.json.encode(("eventkit subject key", subject, key_id))
