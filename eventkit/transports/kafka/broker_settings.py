"""Checks topic settings: compaction, unclean elections and few replicas lose events; a low size limit parks streams."""

from collections.abc import Iterator, Mapping, Sequence

from eventkit.transports.base import Finding
from eventkit.transports.kafka.topics import REPLICAS

_WANTED = {
    "cleanup.policy": ("delete", "compaction keeps the last event of each stream and drops the others"),
    "unclean.leader.election.enable": ("false", "a replica that has missed events may become the leader"),
}
_NOT_REPORTED = "not reported"
_MIN_OFFSETS_RETENTION = 7 * 24 * 60  # minutes, the broker's default
_OVERHEAD = 2_000  # bytes of key and headers besides an event's data


def findings(
    settings: Mapping[str, Mapping[str, str]], topics: Sequence[str], *, largest_event: int, replicas: int
) -> list[Finding]:
    """Return a finding for each checked setting; `settings` has the values that the broker reported, by topic."""
    found: list[Finding] = []
    for topic in topics:
        reported = settings.get(topic, {})
        found += [*_of_topic(topic, reported, largest_event), *_of_replicas(topic, reported, replicas)]
    return found


def of_offsets(minutes: str | None) -> Iterator[Finding]:
    """Yield a finding for the retention of a stopped group's offsets, in minutes; none if the broker hides it."""
    if minutes is not None:
        reason = (
            "Kafka forgets the offsets of a group that is stopped for longer, which then reads everything again: keep "
            "the inbox for as long (`eventkit inbox prune --older-than`), or commands are handled again"
        )
        yield _at_least("offsets.retention.minutes", minutes, _MIN_OFFSETS_RETENTION, reason, stops=False)


def _of_replicas(topic: str, reported: Mapping[str, str], wanted: int) -> Iterator[Finding]:
    reason = (
        "a confirmed event on fewer brokers is lost with them: alter the topic, or accept it, as on a single "
        "broker for development, with the transport option replicas=1"
    )
    for name in (REPLICAS, "min.insync.replicas"):
        yield _at_least(f"{topic}: {name}", reported.get(name, _NOT_REPORTED), wanted, reason, stops=False)


def _at_least(setting: str, found: str, least: int, reason: str, *, stops: bool = True) -> Finding:
    """Return the finding for a number; one that the broker did not report counts as safe."""
    safe = not found.isdigit() or int(found) >= least
    return Finding(setting, found, f"{least} or more", safe=safe, reason=reason, stops=stops)


def _of_topic(topic: str, reported: Mapping[str, str], largest_event: int) -> Iterator[Finding]:
    yield Finding("acks", "all, set by eventkit", "all", safe=True, reason="a leader that dies takes events with it")
    for name, (wanted, reason) in _WANTED.items():
        found = reported.get(name, _NOT_REPORTED)
        yield Finding(f"{topic}: {name}", found, wanted, safe=found in {wanted, _NOT_REPORTED}, reason=reason)
    reason = (
        "the broker may refuse an event that append accepts, which parks its stream: raise it, or if your catalogs "
        "limit events to fewer bytes, set the transport option largest_event=BYTES"
    )
    largest = reported.get("max.message.bytes", _NOT_REPORTED)
    yield _at_least(f"{topic}: max.message.bytes", largest, largest_event + _OVERHEAD, reason)
