"""The event store: append, read, decide by tags."""

from eventkit.storage.events.append import Expected
from eventkit.storage.events.append_sql import SourceTopics
from eventkit.storage.events.by_stream import Missing, Newest, StreamLog, StreamPart
from eventkit.storage.events.categories import (
    held_topics,
    known_topics,
    record_held,
    record_topic,
    stored_categories,
    topics_in_use,
)
from eventkit.storage.events.causation import EFFECTS
from eventkit.storage.events.decision import Found, Item, items_of, query_steps
from eventkit.storage.events.digests import HEX, PRIME, SUM, Question, Stored, added, ask, part_of, part_of_run
from eventkit.storage.events.entries import Entries, merged, stream_of
from eventkit.storage.events.event_store import (
    ANY,
    NO_STREAM,
    Append,
    Appended,
    CausationTree,
    Caused,
    Decision,
    EventStore,
    Guards,
    QueryItem,
    encode_entry,
    encryption_of,
    write_entries,
)
from eventkit.storage.events.inline_append import InlineContext, Inlined
from eventkit.storage.events.inline_sql import Advanced, Target, advanced, appended_events
from eventkit.storage.events.read import NO_END, End, ReadSql, StreamPages, Window, page_steps
from eventkit.storage.events.stream_history import History, OwnHistory, RemoteHistory
from eventkit.storage.events.tag_sql import TagSql
from eventkit.storage.events.unknown_types import categories_of, find_unknown_types, refuse_unknown_types

__all__ = [
    "ANY",
    "EFFECTS",
    "HEX",
    "NO_END",
    "NO_STREAM",
    "PRIME",
    "SUM",
    "Advanced",
    "Append",
    "Appended",
    "CausationTree",
    "Caused",
    "Decision",
    "End",
    "Entries",
    "EventStore",
    "Expected",
    "Found",
    "Guards",
    "History",
    "InlineContext",
    "Inlined",
    "Item",
    "Missing",
    "Newest",
    "OwnHistory",
    "QueryItem",
    "Question",
    "ReadSql",
    "RemoteHistory",
    "SourceTopics",
    "Stored",
    "StreamLog",
    "StreamPages",
    "StreamPart",
    "TagSql",
    "Target",
    "Window",
    "added",
    "advanced",
    "appended_events",
    "ask",
    "categories_of",
    "encode_entry",
    "encryption_of",
    "find_unknown_types",
    "held_topics",
    "items_of",
    "known_topics",
    "merged",
    "page_steps",
    "part_of",
    "part_of_run",
    "query_steps",
    "record_held",
    "record_topic",
    "refuse_unknown_types",
    "stored_categories",
    "stream_of",
    "topics_in_use",
    "write_entries",
]
