"""Reads events back in pages: a stream by version, all events by position."""

from eventkit.storage.events.read.log_forwards import LogForwards, check_gap_proof
from eventkit.storage.events.read.pages import LogBackwards, Paging, StreamPages, page_steps
from eventkit.storage.events.read.selection import NO_END, Chosen, End, Window
from eventkit.storage.events.read.statements import COLUMNS, MAX_BYTES, ReadSql, numbers

__all__ = [
    "COLUMNS",
    "MAX_BYTES",
    "NO_END",
    "Chosen",
    "End",
    "LogBackwards",
    "LogForwards",
    "Paging",
    "ReadSql",
    "StreamPages",
    "Window",
    "check_gap_proof",
    "numbers",
    "page_steps",
]
