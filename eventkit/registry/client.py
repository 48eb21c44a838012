"""A schema registry with Confluent's API, by Confluent's client, which the extra `registry` brings.

Its errors become eventkit's here. No error shows the credentials of an address: they are sent as a header of HTTP, and
are no part of the address that the client gets.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlsplit, urlunsplit
from uuid import UUID

from eventkit.config import ENCODE, is_ambiguous
from eventkit.errors import ConfigurationError, RegistryError, RegistryUnavailable
from eventkit.observability.plain import one_line

TIMEOUT = 10.0  # seconds, of one request
_RETRIES = 1  # of the client, after a lost connection or an answer of 5xx
_RETRY_DELAY_MS = 200
_MISSING = {40401, 40402, 40408}  # error codes: no such subject, version, or level of its own
_NOT_FOUND, _CONFLICT, _FORBIDDEN = 404, 409, (401, 403)
_REDIRECT = 3  # hundreds
_BUSY = {408, 429, 500, 502, 503, 504}
_HIGHEST_ID = 2**32 - 1  # an id is 4 bytes on the wire
_EXAMPLE = "https://registry:8081"
_MAX_REASON = 300  # characters of an answer in an error: it may be a whole page
_UNKNOWN_FORM = "Unknown Schema Registry Error: "  # the client's words before an answer that is no JSON


class RegisteredVersion(NamedTuple):
    """A version of a subject."""

    number: int
    id: int
    guid: UUID | None  # of newer registries
    schema: dict[str, Any]


class SchemaRegistry:
    """The subjects of one registry. Used by one thread at a time."""

    def __init__(self, url: str, *, timeout: float = TIMEOUT) -> None:
        """Reach the registry at `https://user:password@host:port/path`; no request is sent yet.

        A request that is not answered is repeated once; `timeout` is the limit of each, in seconds. Raise
        ConfigurationError for an address that cannot be used, or if the client is not installed.
        """
        self.place, user = _split(url)
        try:
            from confluent_kafka import schema_registry  # noqa: PLC0415 an extra
        except ImportError as error:
            raise ConfigurationError(
                f"a schema registry needs its client: pip install 'eventkit-outbox[registry]' ({error})"
            ) from error
        self._kit = schema_registry
        limits = {"timeout": timeout, "max.retries": _RETRIES, "retries.wait.ms": _RETRY_DELAY_MS}
        credentials = {"basic.auth.user.info": user} if user else {}
        self._client = schema_registry.SchemaRegistryClient({"url": self.place, **limits, **credentials})

    def uri_of(self, schema_id: int) -> str:
        """Return the address of a schema, without credentials."""
        return f"{self.place}/schemas/ids/{schema_id}/schema"

    def check(self) -> None:
        """Ask for the compatibility level; raise RegistryError or RegistryUnavailable if there is no proper answer."""
        with self._errors("say its compatibility level"):
            self._client.get_compatibility()

    def versions(self, subject: str) -> list[int]:
        """Return the numbers of a subject's versions, oldest first; an empty list for a subject that is not there."""
        with self._errors(f"list the versions of subject {subject!r}"):
            try:
                return sorted(int(number) for number in self._client.get_versions(subject))
            except self._kit.SchemaRegistryError as error:
                if _is_missing(error):
                    return []
                raise

    def version(self, subject: str, number: int) -> RegisteredVersion:
        """Return a version of a subject."""
        with self._errors(f"read version {number} of subject {subject!r}"):
            found = self._client.get_version(subject, number)
            return _registered(number, found.schema_id, found.guid, found.schema.schema_str)

    def level(self, subject: str) -> str:
        """Return the compatibility level of a subject: its own, or else the registry's."""
        with self._errors(f"read the compatibility level of subject {subject!r}"):
            try:
                return str(self._client.get_compatibility(subject))
            except self._kit.SchemaRegistryError as error:
                if not _is_missing(error):
                    raise
                return str(self._client.get_compatibility())

    def is_compatible(self, subject: str, schema: str, *, level: str) -> bool:
        """Return whether the registry would accept a schema as the next version of a subject that has this level."""
        # Not one call for all levels: Apicurio compares with all versions there, whatever the level is.
        is_transitive = level.endswith("_TRANSITIVE")
        test = self._client.test_compatibility_all_versions if is_transitive else self._client.test_compatibility
        with self._errors(f"check a schema against subject {subject!r}"):
            return bool(test(subject, self._schema(schema)))

    def register(self, subject: str, schema: str) -> int:
        """Register a schema as the next version of a subject, unless it is there; return its id.

        Raise RegistryError with the registry's reason if it refuses the schema.
        """
        with self._errors(f"register a schema of subject {subject!r}"):
            return _checked_id(self._client.register_schema(subject, self._schema(schema)))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _schema(self, schema: str) -> Any:  # noqa: ANN401 a class of the extra
        return self._kit.Schema(schema, "JSON")

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        """Raise the client's errors as eventkit's; `doing` names the request."""
        where = f"the schema registry at {self.place}"
        try:
            yield
        except self._kit.SchemaRegistryError as error:
            text = f"{where} does not {doing}: {_reason(error)} (HTTP {error.http_status_code})"
            if error.http_status_code // 100 == _REDIRECT:
                text += "; it redirects, and no redirect is followed: set registry_url to the address it leads to"
            if error.http_status_code in _BUSY:
                raise RegistryUnavailable(text) from None
            if error.http_status_code in _FORBIDDEN:
                text += "; set the user and password in EVENTKIT_REGISTRY_URL, https://user:password@host"
            raise RegistryError(text) from None
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise RegistryError(
                f"{where} does not {doing}: its answer is not one of Confluent's API ({type(error).__name__}); does "
                "the address have the right path, such as /apis/ccompat/v7 for Apicurio?"
            ) from None
        except Exception as error:  # noqa: BLE001 the client's HTTP library is one of two
            raise RegistryUnavailable(f"{where} does not answer: {type(error).__name__}: {error}") from None


def _split(url: str) -> tuple[str, str]:
    """Return an address without credentials, and `user:password`; empty if it has none."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query and parts.port != 0
    except ValueError:
        usable = False
    if not usable or is_ambiguous(url):
        raise ConfigurationError(f"the schema registry's URL cannot be read: it looks like {_EXAMPLE}; {ENCODE}")
    user, _, host = parts.netloc.rpartition("@")
    place = urlunsplit((parts.scheme, host, quote(unquote(parts.path)).rstrip("/"), "", ""))
    return place, ":".join(map(unquote, user.split(":", 1))) if user else ""


def _is_missing(error: Any) -> bool:  # noqa: ANN401 a class of the extra
    return error.http_status_code == _NOT_FOUND and error.error_code in _MISSING


def _reason(error: Any) -> str:  # noqa: ANN401 a class of the extra
    """Return the registry's words, or the beginning of an answer of another form, on one line."""
    text = one_line(str(error.error_message))
    if text.startswith(_UNKNOWN_FORM):
        text = f"its answer begins with {text.removeprefix(_UNKNOWN_FORM)}"
    return text if len(text) <= _MAX_REASON else f"{text[:_MAX_REASON]} ..."


def _checked_id(found: object) -> int:
    if type(found) is not int or not 0 <= found <= _HIGHEST_ID:
        raise ValueError("the answer names no schema")
    return found


def _registered(number: int, schema_id: int | None, guid: str | None, text: str | None) -> RegisteredVersion:
    if text is None:
        raise ValueError("the answer has no schema")
    schema = json.loads(text)
    return RegisteredVersion(
        number, _checked_id(schema_id), UUID(guid) if guid else None, schema if type(schema) is dict else {}
    )
