"""What settings mean for what is published: compaction, unclean elections and few replicas lose it, a limit parks."""

from collections.abc import Iterator, Mapping, Sequence

from eventkit.transports.base import Finding
from eventkit.transports.kafka.topics import REPLICAS

_WANTED = {
    "cleanup.policy": ("delete", "compaction keeps the last event of each stream and drops the others"),
    "unclean.leader.election.enable": ("false", "a replica that has missed events may become the leader"),
}
_NOT_TOLD = "not told"
_WEEK = 7 * 24 * 60  # minutes, the broker's default
_ROOM = 2_000  # bytes of key and headers beside an event's data


def findings(
    settings: Mapping[str, Mapping[str, str]], topics: Sequence[str], *, largest_event: int, replicas: int
) -> list[Finding]:
    """Judge the settings of topics; `settings` has those that the broker told."""
    found: list[Finding] = []
    for topic in topics:
        told = settings.get(topic, {})
        found += [*_of_topic(topic, told, largest_event), *_of_replicas(topic, told, replicas)]
    return found


def of_offsets(minutes: str | None) -> Iterator[Finding]:
    """Say how long the broker remembers the place of a group that is stopped, where it tells."""
    if minutes is not None:
        reason = (
            "Kafka forgets the place of a group that is stopped for longer: keep the inbox for as long "
            "(`eventkit inbox prune --older-than`), or commands are handled again when all is read again"
        )
        yield _at_least("offsets.retention.minutes", minutes, _WEEK, reason, stops=False)


def _of_replicas(topic: str, told: Mapping[str, str], wanted: int) -> Iterator[Finding]:
    reason = (
        "what fewer brokers have when it is confirmed is lost with them: alter the topic, or accept it, as on a single "
        "broker for development, with the transport option replicas=1"
    )
    for name in (REPLICAS, "min.insync.replicas"):
        yield _at_least(f"{topic}: {name}", told.get(name, _NOT_TOLD), wanted, reason, stops=False)


def _at_least(setting: str, found: str, least: int, reason: str, *, stops: bool = True) -> Finding:
    """Judge a number; one that the broker did not tell is taken for safe."""
    safe = not found.isdigit() or int(found) >= least
    return Finding(setting, found, f"{least} or more", safe=safe, reason=reason, stops=stops)


def _of_topic(topic: str, told: Mapping[str, str], largest_event: int) -> Iterator[Finding]:
    yield Finding("acks", "all, set by eventkit", "all", safe=True, reason="a leader that dies takes events with it")
    for name, (wanted, reason) in _WANTED.items():
        found = told.get(name, _NOT_TOLD)
        yield Finding(f"{topic}: {name}", found, wanted, safe=found in {wanted, _NOT_TOLD}, reason=reason)
    reason = (
        "an event that append takes may be refused by the broker, and then parks its stream; where no catalog takes so "
        "large ones, say so with the transport option largest_event=BYTES"
    )
    largest = told.get("max.message.bytes", _NOT_TOLD)
    yield _at_least(f"{topic}: max.message.bytes", largest, largest_event + _ROOM, reason)
