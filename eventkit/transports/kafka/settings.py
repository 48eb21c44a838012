"""What a topic's settings mean for what is published: compaction and unclean elections lose it, a small limit parks."""

from collections.abc import Iterator, Mapping, Sequence

from eventkit.transports.base import Finding

_WANTED = {
    "cleanup.policy": ("delete", "compaction keeps the last event of each stream and drops the others"),
    "unclean.leader.election.enable": ("false", "a replica that has missed events may become the leader"),
}
_ROOM = 2_000  # bytes of key and headers beside an event's data


def findings(settings: Mapping[str, Mapping[str, str]], topics: Sequence[str], largest_event: int) -> list[Finding]:
    """Judge the settings of topics; `settings` has those that the broker told."""
    return [finding for topic in topics for finding in _of_topic(topic, settings.get(topic, {}), largest_event)]


def _of_topic(topic: str, told: Mapping[str, str], largest_event: int) -> Iterator[Finding]:
    yield Finding("acks", "all, set by eventkit", "all", safe=True, reason="a leader that dies takes events with it")
    for name, (wanted, reason) in _WANTED.items():
        found = told.get(name, "not told")
        yield Finding(f"{topic}: {name}", found, wanted, safe=found in {wanted, "not told"}, reason=reason)
    largest = told.get("max.message.bytes", "not told")
    yield Finding(
        f"{topic}: max.message.bytes",
        largest,
        f"{largest_event + _ROOM} or more",
        safe=not largest.isdigit() or int(largest) >= largest_event + _ROOM,
        reason="an event that append takes may be refused by the broker, and then parks its stream; where no catalog "
        "takes so large ones, say so with the transport option largest_event=BYTES",
    )
