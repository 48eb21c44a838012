"""Gathers messages into one run per stream; reads only their stream and version.

Parsing a header costs time, so other headers are read only if the message's type is handled, or the message is parked.
A message without stream or version is malformed: it can be kept as a dead letter, but it parks nothing. A projection of
unversioned messages makes each a run of its own, named by its id, with a row in the inbox as its checkpoint.
"""

from binascii import unhexlify
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import msgspec

from eventkit.domain.header_values import HIGHEST_VERSION, Raw, number_of, shown, time_of, uuid_of
from eventkit.domain.message import Message, PlainMessage
from eventkit.domain.stream import is_stream
from eventkit.storage.events import PRIME, part_of, part_of_run
from eventkit.storage.projections import Span, is_message, name_of_message
from eventkit.transports.base import Mark

_UUID_AND_COMMA = 37  # characters
_UUID_BYTES = 16
_VERSION_INDEX = 5  # of the header ce_streamversion in eventkit's messages


class Arrival(msgspec.Struct, gc=False):
    """A message, its stream and its version."""

    stream: str
    version: int
    message: Message
    position: int | None = None  # in the store, if it was read there

    @property
    def id(self) -> Raw:
        """The event's id as received."""
        if type(self.message) is PlainMessage:
            return self.message.event_id
        return header(self.message, "ce_id", 1)

    @property
    def kind(self) -> tuple[Raw, Raw]:
        """Source and type as received."""
        if type(self.message) is PlainMessage:
            return self.message.source, self.message.type
        headers: Sequence[tuple[str, Raw]] = self.message.headers
        if len(headers) > 3:  # noqa: PLR2004 as `headers_of` puts them
            (one, source), (other, type_) = headers[2:4]
            if one == "ce_source" and other == "ce_type" and source is not None and type_ is not None:
                return source, type_
        return header(self.message, "ce_source", 2), header(self.message, "ce_type", 3)

    @property
    def time(self) -> datetime:
        """The time at which the event was recorded, in UTC; ValueError if it cannot be parsed."""
        text = header(self.message, "ce_time", 4)
        return time_of(text.decode() if isinstance(text, bytes) else text or "")

    @property
    def header_version(self) -> int:
        """The version in the message's header; 0 if it is missing or invalid."""
        return number_of(header(self.message, "ce_streamversion", 5))

    @property
    def uuid(self) -> UUID:
        """The event's id; an id that is no UUID is hashed into one."""
        return uuid_of(self.id)


class Run(msgspec.Struct, gc=False):
    """The events of one stream in a batch; `whole` if they follow each other without gap, repetition or fork."""

    stream: str
    arrivals: list[Arrival]
    whole: bool = True
    ids: bytes = b""  # 16 bytes for each event, set by `spans`

    def span(self) -> Span:
        """Return the versions, last id and digest of a whole run, for its checkpoint."""
        return spans([self])[0]

    def slow_span(self) -> Span:
        """Return the span of a run whose ids may have another place or form than eventkit's."""
        self.ids = b"".join(arrival.uuid.bytes for arrival in self.arrivals)
        last = self.arrivals[-1]
        return Span(self.stream, self.arrivals[0].version, last.version, last.uuid.hex, digest_of(self.arrivals))

    def above(self, version: int) -> "Run":
        """Return the events above a version."""
        return Run(self.stream, [arrival for arrival in self.arrivals if arrival.version > version], self.whole)

    def is_below(self, version: int) -> bool:
        """Whether all events are below a version."""
        return self.arrivals[-1].version < version

    def contains(self, version: int, event_id: UUID | None) -> bool:
        """Whether a whole run has this event, or lies below its version; otherwise there is a gap or a fork."""
        place = version - self.arrivals[0].version
        if place >= len(self.arrivals):
            return True  # all events are below it
        return place >= 0 and self.arrivals[place].uuid == event_id


def spans(runs: Sequence[Run]) -> list[Span]:
    """Return the span of each run, and set the runs' ids; all ids are parsed at once, three times as fast."""
    try:
        texts = [
            message.event_id if type(message := arrival.message) is PlainMessage else header(message, "ce_id", 1)
            for run in runs
            for arrival in run.arrivals
        ]
        ids = _bytes_of(texts)
    except (TypeError, ValueError, IndexError):
        return [runs[0].slow_span()] if len(runs) == 1 else [run.span() for run in runs]
    found, start = [], 0
    for run in runs:
        arrivals = run.arrivals
        end = start + _UUID_BYTES * len(arrivals)
        run.ids = own = ids[start:end]
        last = arrivals[-1].version
        found.append(Span(run.stream, arrivals[0].version, last, own[-_UUID_BYTES:].hex(), part_of_run(own, last)))
        start = end
    return found


class Batch(msgspec.Struct):
    """The runs and the malformed messages of a batch."""

    runs: list[Run]
    malformed: list[tuple[Message, str]]
    duplicates: int  # found within the batch itself


def gather(messages: Iterable[Message], *, from_store: bool = False, unversioned: bool = False) -> Batch:
    """Gather messages into one run per stream; with `unversioned`, accept messages without a version too."""
    runs: dict[str, Run] = {}
    malformed: list[tuple[Message, str]] = []
    for message in messages:
        if type(message) is PlainMessage:
            stream, version = message.key, message.version
        elif message.unreadable is None and (version := number_of(header(message, "ce_streamversion", _VERSION_INDEX))):
            stream = message.key
        elif name := _name_of(message) if unversioned else "":
            stream, version = name, 1
        else:
            malformed.append((message, message.unreadable or "header ce_streamversion is missing or no number"))
            continue
        arrival = Arrival(stream, version, message, message.tag if from_store else None)
        run = runs.get(stream)
        if run is not None and version == run.arrivals[-1].version + 1 <= HIGHEST_VERSION:
            run.arrivals.append(arrival)
        elif reason := _misplaced(arrival):
            malformed.append((message, reason))
        elif run is None:
            runs[stream] = Run(stream, [arrival])
        else:
            run.arrivals.append(arrival)
            run.whole = False
    tidied = {stream: tidy(run) for stream, run in runs.items() if not run.whole}
    repeated = sum(len(runs[stream].arrivals) - len(run.arrivals) for stream, run in tidied.items())
    return Batch(list({**runs, **tidied}.values()), malformed, repeated)


def tidy(run: Run) -> Run:
    """Sort a run by version and drop repeated events; forks stay, in order of arrival."""
    known: dict[tuple[int, UUID], Arrival] = {}
    for arrival in run.arrivals:
        known.setdefault((arrival.version, arrival.uuid), arrival)
    arrivals = sorted(known.values(), key=lambda arrival: arrival.version)  # a stable sort
    return Run(run.stream, arrivals, len(contiguous(arrivals)) == len(arrivals))


def contiguous(arrivals: Sequence[Arrival]) -> list[Arrival]:
    """Return the longest prefix in which each version follows the one before."""
    taken: list[Arrival] = []
    for arrival in arrivals:
        if taken and arrival.version != taken[-1].version + 1:
            break
        taken.append(arrival)
    return taken


def header(message: Message, name: str, place: int) -> Raw:
    """Return a header of a message, tried first at eventkit's index `place`; None if it is missing or has no value."""
    headers: Sequence[tuple[str, Raw]] = message.headers
    if len(headers) > place and headers[place][0] == name and headers[place][1] is not None:
        return headers[place][1]
    for key, value in headers:
        if key == name and value is not None:
            return value
    return None


def _bytes_of(ids: Sequence[Any]) -> bytes:
    """Return the bytes of ids; raise ValueError or TypeError if one has another form than eventkit's.

    Dashes and the commas between ids are in their places, and without them there are 32 digits for each id. So there
    are no others, and every id has its own 36 characters.
    """
    text, count = ",".join(ids).encode() if isinstance(ids[0], str) else b",".join(ids), len(ids)
    dashes = [text[place::_UUID_AND_COMMA] for place in (8, 13, 18, 23)]
    if dashes != [b"-" * count] * 4 or text[_UUID_AND_COMMA - 1 :: _UUID_AND_COMMA] != b"," * (count - 1):
        raise ValueError(text)
    found = unhexlify(text.translate(None, b"-,"))
    if len(found) != _UUID_BYTES * count:
        raise ValueError(text)
    return found


def digest_of(arrivals: Iterable[Arrival]) -> int:
    """Return the sum that events add to their stream's digest."""
    return sum(part_of(arrival.uuid, arrival.version) for arrival in arrivals) % PRIME


def _name_of(message: Message) -> str:
    """Return the name of a message without a version; empty if it has a version, no id or no source."""
    if message.unreadable is not None or header(message, "ce_streamversion", 5) is not None:
        return ""
    found = [header(message, "ce_id", 1), header(message, "ce_source", 2)]
    try:
        event_id, source = (value.decode() if isinstance(value, bytes) else value for value in found)
    except UnicodeDecodeError:
        return ""
    return name_of_message(event_id, source) if event_id and source else ""


def _misplaced(arrival: Arrival) -> str:
    if not (is_message(arrival.stream) or is_stream(arrival.stream)):
        return f"its key {shown(arrival.stream)} is no stream"
    if arrival.version > HIGHEST_VERSION:
        return f"its version {arrival.version} is not in 1 to {HIGHEST_VERSION}"
    return ""


class Source(Protocol):
    """The messages that a projector reads: the store, or a subscription at a broker."""

    @property
    def position(self) -> int | None:
        """The store's position up to which all events were received; None if the source is a broker."""

    @property
    def ready(self) -> bool:
        """Whether an empty batch means that there are no messages, rather than that no poll has ended yet."""

    def receive(self) -> list[Message]:
        """Return the next batch; an empty one after a short wait."""

    def marks(self, messages: Sequence[Message]) -> list[Mark]:
        """Return the broker's offsets behind these messages, the last batch; none if it has no offsets."""

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Acknowledge messages that have been applied or kept."""

    def close(self) -> None:
        """Close the connections."""
