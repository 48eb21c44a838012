"""Conditions of the relay: nobody sends, something is not sent, or a topic is refused."""

import re
from collections.abc import Iterator, Sequence

from eventkit.insights.answers import DebeziumInsight, HeldTopic, PartInsight
from eventkit.insights.attention.item import Attention, critical, warning
from eventkit.insights.attention.observations import Observations
from eventkit.insights.attention.words import are, ending, holding, lasting, named, sentence, some
from eventkit.insights.publishing import publisher_words
from eventkit.storage.debezium import Mode
from eventkit.storage.outbox import lease_name

TAKEOVER = 15.0  # seconds in which another relay takes a part over
_MAX_NAMED = 3  # sessions, or topics, in a text
OLD = 60.0  # seconds that an event may wait in the outbox
LARGE = 100_000  # unsent events that count as trouble at any age
MOST_BEHIND = 64 << 20  # bytes of write-ahead log that Debezium has not sent
LONG_PAUSE = 3_600.0  # seconds after which a pause may be forgotten

_RUN = "eventkit relay run"
_DEBEZIUM_SENDS = (Mode.TO_RELAY, Mode.DEBEZIUM)
_SHARED = " Running relays share all parts by themselves: if this lasts, restart them, or start another one."
_REMEDY = re.compile(r"`(eventkit topics release [^`]+|eventkit topics create)`")  # in the reason of a held topic


def relays(seen: Observations) -> Iterator[Attention]:
    """Report parts that nobody has led for longer than a takeover takes."""
    missing = _missing(seen)
    if missing and len(missing) == len(seen.relay.parts):
        text = (
            f"No process sends events to the broker, and {some(seen.relay.unsent, 'event')} {are(seen.relay.unsent)} "
            "unsent. Services go on appending. Start a relay, and find out why none runs."
            f"{_solve_first(seen, missing)}{_claims(seen)}"
        )
        action = _action(seen, missing)
        since = max((part.expires_at for part in missing if part.expires_at), default=seen.relay.oldest_unsent_at)
        yield critical("no_relay", "No relay runs", text, subject="relay", action=action, since=since)
        return
    for part in missing:
        ever = "" if part.epoch else " It never had one."
        text = f"No relay sends the streams of part {part.number} of {part.of}; the other parts go on.{ever}" + (
            _solve_first(seen, [part]) or _SHARED
        )
        title, subject = f"{sentence(named(part))} has no relay", f"part {part.number}/{part.of}"
        action = _action(seen, [part])
        yield critical("part_without_relay", title, text, subject=subject, action=action, since=part.expires_at)


def _solve_first(seen: Observations, parts: Sequence[PartInsight]) -> str:
    """Return a sentence about the sessions that prevent the parts from being taken; nothing if there is none."""
    leases = {named(part): _lease(part) for part in parts if _lease(part) in seen.lock_holders}
    if not leases:
        return ""
    holders = "; ".join(holding(seen, lease, what) for what, lease in list(leases.items())[:_MAX_NAMED])
    return f" {sentence(holders)}, so that no relay can take it: end that session first."


def _action(seen: Observations, parts: Sequence[PartInsight]) -> str:
    return next((ending(seen, _lease(part)) for part in parts if _lease(part) in seen.lock_holders), _RUN)


def _lease(part: PartInsight) -> str:
    return lease_name(part.number, part.of)


def _claims(seen: Observations) -> str:
    """Return a sentence about topics that a relay is refused at its start."""
    claimed = [held.topic for held in seen.relay.held_topics if "eventkit topics release" in held.reason]
    if not claimed:
        return ""
    return (
        f" Another installation has claimed {', '.join(claimed[:_MAX_NAMED])}: a relay does not start while it is "
        "refused all its topics, so solve that first."
    )


def _missing(seen: Observations) -> list[PartInsight]:
    if seen.relay.mode == Mode.DEBEZIUM:
        return []  # the relay has nothing to do
    return [part for part in seen.relay.parts if _is_left(seen, part)]


def _is_left(seen: Observations, part: PartInsight) -> bool:
    if part.leader is not None:
        return False
    if part.expires_at is not None:
        return seen.seconds(part.expires_at) > TAKEOVER
    return seen.seconds(seen.relay.oldest_unsent_at) > TAKEOVER or any(other.epoch for other in seen.relay.parts)


def outbox(seen: Observations) -> Iterator[Attention]:
    """Report events that the relay should have sent, or so many that the database's disk is in danger."""
    if seen.relay.mode in _DEBEZIUM_SENDS:
        return
    age = seen.seconds(seen.oldest_open_at)
    unsent = some(seen.relay.unsent, "event")
    if age > OLD or seen.relay.unsent.value >= LARGE:
        oldest = f"The oldest one that should have been sent has waited for {lasting(age)}. " if age else ""
        missing = [part for part in _missing(seen) if part.number in seen.waiting_parts]
        if missing and len(missing) == len(seen.waiting_parts):
            text = f"{oldest}{_explained(seen, missing)}"
        else:
            text = (
                f"{oldest}{_whose(seen)}The relays settle {seen.relay.rate:,.0f} events a second. Look for a relay "
                "that is missing, a broker that is away or slow, or a writer that appends faster than they send."
            )
        yield critical(
            "outbox_old",
            sentence(f"{unsent} {'waits' if seen.relay.unsent.value == 1 else 'wait'} in the outbox"),
            text,
            subject="outbox",
            action=_action(seen, missing) if missing else "eventkit doctor",
            since=seen.oldest_open_at or seen.relay.oldest_unsent_at,
        )


def _explained(seen: Observations, missing: Sequence[PartInsight]) -> str:
    """Return why all of them wait: the item about their parts has the cause."""
    if len(missing) == len(seen.relay.parts):
        return "See above: no relay runs."
    names = " and ".join(map(named, missing[:_MAX_NAMED]))
    has = "has" if len(missing) == 1 else "have"
    return f"They are those of {names}. See above: {'it' if len(missing) == 1 else 'they'} {has} no relay."


def _whose(seen: Observations) -> str:
    """Return a sentence about the parts whose events wait; nothing where it is all of them."""
    if not 0 < len(seen.waiting_parts) < len(seen.relay.parts):
        return ""
    waiting = [part for part in seen.relay.parts if part.number in seen.waiting_parts]
    more = f" and {len(waiting) - _MAX_NAMED} more" if len(waiting) > _MAX_NAMED else ""
    return f"They are those of {', '.join(map(named, waiting[:_MAX_NAMED]))}{more}. "


def debezium(seen: Observations) -> Iterator[Attention]:
    """Report a slot that nobody reads, or that PostgreSQL gives up soon, while Debezium has to send the events."""
    slot = seen.relay.debezium
    if slot is None or seen.relay.mode not in _DEBEZIUM_SENDS:
        return
    if slot.is_lost:
        text = (
            "Its replication slot is gone, and with it the place up to which it has sent events. Let the relay send "
            "the events again, from a moment at which Connect still ran."
        )
        action = "eventkit db mode relay"
        yield critical("debezium_stands", "Debezium's slot is gone", text, subject="debezium", action=action)
    elif not slot.is_read:
        text = (
            f"Nobody reads its replication slot. {slot.behind / 1e6:,.1f} MB of the write-ahead log wait, the "
            "server keeps them on its disk, and services go on appending. Start Kafka Connect, or see the state of "
            f"the connector's task there.{_when_lost(slot)}"
        )
        yield critical("debezium_stands", "Debezium does not send", text, subject="debezium", action="eventkit doctor")
    elif slot.status == "unreserved":
        text = (
            f"Connect is {slot.behind / 1e6:,.1f} MB of the write-ahead log behind, more than max_slot_wal_keep_size "
            "allows. The server's next checkpoint may remove log that Connect needs: raise that setting."
        )
        title = "Debezium is about to lose its slot"
        yield critical("debezium_stands", title, text, subject="debezium", action="eventkit doctor")

    elif slot.behind > MOST_BEHIND:
        text = (
            f"Connect reads, and has {slot.behind / 1e6:,.0f} MB of the write-ahead log to send. It is slow, or stands "
            "at one message: where a topic is missing or forbidden, the events of all streams wait. Its log names it; "
            "create the topic, or grant the right."
        )
        yield warning("debezium_stands", "Debezium is far behind", text, subject="debezium", action="eventkit doctor")


def _when_lost(slot: DebeziumInsight) -> str:
    if slot.left is None:
        return ""
    return f" After {max(slot.left, 0) / 1e6:,.0f} MB more of the log the slot is lost."


def switch(seen: Observations) -> Iterator[Attention]:
    """Report a switch between relay and Debezium that was ended before its last step."""
    if not seen.has_open_switch:
        return
    onward, back = ("relay", "debezium") if seen.relay.mode == Mode.TO_RELAY else ("debezium", "relay")
    text = (
        f"{sentence(publisher_words(seen.relay))}. No command runs the switch. Until it ends, each append costs more, "
        f"and the outbox or the write-ahead log may grow. `eventkit db mode {onward}` goes on, "
        f"`eventkit db mode {back}` turns back."
    )
    action = f"eventkit db mode {onward}"
    yield warning("switch_unfinished", "A switch has not ended", text, subject="mode", action=action)


def skipped(seen: Observations) -> Iterator[Attention]:
    """Report events that only the sweep has found: a fault of eventkit."""
    if seen.relay.swept:
        text = (
            f"The relay's reader has skipped {seen.relay.swept:,} events, and its sweep has found and sent them, "
            "perhaps after later events of their streams. This is a fault of eventkit: report it with the log."
        )
        action = "eventkit projection verify"
        yield critical("events_skipped", "The relay has skipped events", text, subject="relay", action=action)


def held(seen: Observations) -> Iterator[Attention]:
    """Report topics that the relay sends nothing to, because the broker or another installation refuses it."""
    for topic in seen.relay.held_topics:
        text = (
            f"The relay sends nothing to {topic.topic}: {topic.reason}. Its events wait in the outbox, in order, and "
            "are sent when the cause is removed; the other topics go on."
        )
        yield critical(
            "topic_held",
            f"Topic {topic.topic} is held",
            text,
            subject=topic.topic,
            action=_remedy(topic),
            since=topic.since,
        )


def _remedy(topic: HeldTopic) -> str:
    """Return the command that solves it, as the reason names it."""
    named = _REMEDY.search(topic.reason)
    if named is None:
        return f"eventkit topics check {topic.topic}"
    return named[1] if topic.topic in named[1] else f"{named[1]} {topic.topic}"


def paused_topics(seen: Observations) -> Iterator[Attention]:
    """Report topics that an operator has paused, perhaps long ago."""
    for pause in seen.relay.paused_topics:
        if seen.seconds(pause.paused_at) > LONG_PAUSE:
            reason = f" ({pause.reason})" if pause.reason else ""
            text = (
                f"{pause.paused_by} has paused the sending to {pause.name}{reason}. Its events wait in the outbox "
                "until it is resumed."
            )
            title = f"Topic {pause.name} is paused for {lasting(seen.seconds(pause.paused_at))}"
            action = f"eventkit relay resume {pause.name}"
            yield warning("paused_long", title, text, subject=pause.name, action=action, since=pause.paused_at)
