"""The publisher in plain words: who sends the events, and how far Debezium has read the write-ahead log."""

from eventkit.insights.answers import DebeziumInsight, PublisherInsight
from eventkit.storage.debezium import SENDERS, Mode


def publisher_words(publisher: PublisherInsight) -> str:
    """Return who sends the events; where Debezium does, also the state of its slot."""
    senders = SENDERS[Mode(publisher.mode)]
    return f"{senders}; {_slot(publisher.debezium)}" if publisher.debezium else senders


def _slot(found: DebeziumInsight) -> str:
    if found.is_lost:
        return "its replication slot is gone"
    reads = "Connect reads its slot" if found.is_read else "nobody reads its slot"
    left = "" if found.left is None else f", lost after {found.left / 1e6:,.0f} MB more"
    return f"{reads}, {found.behind / 1e6:,.1f} MB behind{left}"
