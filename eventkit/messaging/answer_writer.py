"""The answers of a responder's batch: stored in the inbox, or appended, in the transaction of its functions.

A batch has up to thousands of requests, and the answer of each may be large. So the answers are written whenever 8 MB
of them are there, and the rest at the end of the batch.
"""

from collections.abc import Iterator

import msgspec

from eventkit.domain.catalog import Catalog
from eventkit.messaging.reply_delivery import RecentReplies, Reply
from eventkit.projection.dispatch import Step
from eventkit.projection.transaction import Workspace
from eventkit.storage.entry import Entry
from eventkit.storage.events import EventStore, encode_entry, merged, write_entries
from eventkit.storage.projections import is_message, keep_replies
from eventkit.transports.base import MAX_BYTES

TO = "reply_to"  # the field of an event's metadata with the stream for its reply


class Answer(msgspec.Struct):
    """The answer of a function to a request."""

    step: Step
    event: object
    refused: bool = False

    def kept(self, catalog: Catalog) -> str:
        """Return the JSON for the inbox."""
        return msgspec.json.encode(Reply.of(catalog.encode(self.event), refused=self.refused)).decode()

    def entries(self, store: EventStore) -> Iterator[Entry]:
        """Yield the event that answers an appended request, in its reply stream."""
        envelope = self.step.envelope
        if envelope is not None and envelope.version and TO in envelope.metadata.extra:
            stream = envelope.metadata.extra[TO]
            yield encode_entry(store.following(envelope), stream, self.event)


class AnswerWriter:
    """Writes the answers of one batch; `recent` has those to direct requests."""

    def __init__(self, workspace: Workspace, store: EventStore, responder: str) -> None:
        self._connection = workspace.connection
        self._store = store
        self._responder = responder
        self.begin()

    def begin(self) -> None:
        """Forget the answers, after a rollback."""
        self.recent = RecentReplies()
        self._kept: dict[str, str] = {}
        self._entries: list[Entry] = []
        self._size = 0  # characters that wait to be written

    def add(self, answer: Answer) -> None:
        """Take an answer; write those that wait if there are 8 MB of them."""
        stream = answer.step.stream
        if is_message(stream):
            self._kept[stream] = kept = answer.kept(self._store.catalog)
            self._size += len(kept)
            self.recent.add({stream: kept})
        for entry in answer.entries(self._store):
            self._entries.append(entry)
            self._size += sum(len(event.data) for event in entry.events)
        if self._size > MAX_BYTES:
            self.write()

    def write(self) -> None:
        """Write the answers that wait: first to the inbox, then to the streams, which are locked in sorted order."""
        if self._kept:
            keep_replies(self._connection, self._store.schema, self._responder, self._kept)
        write_entries(self._store, self._connection, merged(self._entries))
        self._kept, self._entries, self._size = {}, [], 0
