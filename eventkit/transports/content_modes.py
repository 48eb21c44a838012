"""The option `format` of every transport: `binary` is CloudEvents' binary mode, `structured` its structured mode.

Readers need no option: every transport reads both.
"""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from eventkit.domain.message import Message
from eventkit.domain.structured import structured
from eventkit.errors import ConfigurationError

if TYPE_CHECKING:
    from eventkit.transports.base import Publisher, Transport

OPTION = "format"
_IN_URL = re.compile(rf"(?<=[?&]){OPTION}=([^&#]*)&?")


class StructuredPublisher:
    """Sends messages in structured mode; in all else the publisher that it wraps."""

    def __init__(self, publisher: "Publisher") -> None:
        self._publisher = publisher

    def send(self, messages: Sequence[Message]) -> None:
        """Queue messages, in structured mode."""
        self._publisher.send([structured(message) for message in messages])

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._publisher, name)


class StructuredTransport:
    """A transport whose publishers write structured mode."""

    def __init__(self, transport: "Transport") -> None:
        self._transport = transport

    def publisher(self, *, to_listeners: bool = False) -> "Publisher":
        """Return a new publisher; see `Transport.publisher`."""
        return cast("Publisher", StructuredPublisher(self._transport.publisher(to_listeners=to_listeners)))

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._transport, name)


def without_format(url: str, options: Mapping[str, str]) -> tuple[str, dict[str, str], str]:
    """Return a URL and options without the option `format`, and its value; ConfigurationError for another value."""
    found = _IN_URL.search(url)
    others = {name: value for name, value in options.items() if name != OPTION}
    value = options.get(OPTION, found[1] if found else "binary")
    if value not in ("binary", "structured"):
        raise ConfigurationError(
            f"the transport option {OPTION} is {value!r:.60}: set binary or structured, CloudEvents' content modes"
        )
    return (_IN_URL.sub("", url, count=1).rstrip("?&") if found else url), others, value


def in_format(transport: "Transport", value: str) -> "Transport":
    """Return a transport that writes this content mode."""
    return cast("Transport", StructuredTransport(transport)) if value == "structured" else transport
