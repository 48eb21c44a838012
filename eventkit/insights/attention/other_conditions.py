"""Conditions of dead letters, deadlines, processes, the inbox and the database."""

import shlex
from collections.abc import Iterator

from eventkit.insights.answers import DeadLetterGroup, ProcessInsight
from eventkit.insights.attention.item import Attention, critical, warning
from eventkit.insights.attention.observations import Observations
from eventkit.insights.attention.words import are, ending, explained, holding, lasting, place, psql, sentence, some

OVERDUE = 60.0  # seconds that a deadline may be late
LARGE_INBOX = 5_000_000  # rows
_NAMED_ROLES = ("projector", "responder", "rebuild")  # each process of another role can do the work of the others
MOST_RETAINED = 1 << 30  # bytes of write-ahead log that an inactive slot may keep


def letters(seen: Observations) -> Iterator[Attention]:
    """Report dead letters by projection or relay, cause, and category of the streams."""
    for group in seen.letters:
        if not group.is_stale and group.cause != "behind":
            yield _letters(group)


def _letters(group: DeadLetterGroup) -> Attention:
    relay = group.parked_by == "relay"
    what = "cannot be sent" if relay else f"cannot be applied by {group.parked_by}"
    events = some(group.amount, "event")
    one = group.amount.value == 1
    wait = "Its stream waits behind it" if one else "Their streams wait, each behind its own event"
    them, is_in_vain = ("it", "it must never have an effect") if one else ("them", "they must never have an effect")
    chosen = _chosen(group)
    text = (
        f"{sentence(events)} of category {group.category} {what}. The cause is {group.cause!r}: {group.error}. {wait}; "
        f"all others go on. `eventkit dead-letters show {group.example} --payload` shows the details. Mend the cause "
        f"and try {them} again: `eventkit dead-letters redrive {chosen}`. Skip {them} for good only if {is_in_vain}: "
        f"`eventkit dead-letters discard {chosen}`."
    )
    action = f"eventkit dead-letters show {group.example}"
    subject = f"{group.parked_by}/{group.cause}/{group.category}"
    return warning(
        "dead_letters", sentence(f"{events} {what}"), text, subject=subject, action=action, since=group.first_parked_at
    )


def _chosen(group: DeadLetterGroup) -> str:
    """Return the arguments that choose the letters of a group."""
    if group.amount.value == 1:
        return str(group.example)
    options = ["--by", group.parked_by, "--cause", group.cause, "--category", group.category]
    return shlex.join(options)


def parked(seen: Observations) -> Iterator[Attention]:
    """Report streams that are parked and have no letter, so that a redrive cannot find them."""
    for each in seen.projections:
        if each.parked_streams.value and not each.dead_letters.value:
            action = f"eventkit projection rebuild {place(seen, each.name)}"
            text = (
                f"{sentence(some(each.parked_streams, 'stream'))} of {each.name} {are(each.parked_streams)} parked, "
                "and no dead letter is there: letters were deleted by hand. Only a rebuild applies the events."
                f"{explained(action)}"
            )
            title = f"Streams of {each.name} are parked without a letter"
            yield warning("parked_without_letter", title, text, subject=each.name, action=action)


def timers(seen: Observations) -> Iterator[Attention]:
    """Report deadlines that are due and do not fire."""
    late = seen.seconds(seen.timers.oldest_overdue_at)
    if late <= OVERDUE:
        return
    overdue = some(seen.timers.overdue, "deadline")
    since = seen.timers.oldest_overdue_at
    if seen.timers.leader is None:
        them = "it" if seen.timers.overdue.value == 1 else "them"
        text = (
            f"{sentence(overdue)} {are(seen.timers.overdue)} due and nobody fires {them}, the oldest for "
            f"{lasting(late)}: process managers wait."
        )
        action = "eventkit timers run"
        if "timers" in seen.lock_holders:
            holder = sentence(holding(seen, "timers", "the timers"))
            text += f" {holder}, so that no process can take their lease: end that session first."
            action = ending(seen, "timers")
        yield critical("no_timers", "No timers process runs", text, subject="timers", action=action, since=since)
    else:
        text = (
            f"{sentence(overdue)} {are(seen.timers.overdue)} due, the oldest for {lasting(late)}. {seen.timers.leader} "
            f"fires {seen.timers.rate:,.0f} a second: look at its log, and for locks on the streams that it appends to."
        )
        action = "eventkit timers list"
        yield critical("timers_late", "Deadlines fire late", text, subject="timers", action=action, since=since)


def processes(seen: Observations) -> Iterator[Attention]:
    """Report processes that died or hang, if nobody does their work, and no other item reports that."""
    lively = {(each.role, _work(each)) for each in seen.processes if not each.is_gone}
    for each in seen.processes:
        is_done = "successor" in each.state or (each.role, _work(each)) in lively
        if not each.is_gone or is_done or _has_item(each):
            continue
        text = (
            f"The {each.role} process {each.pid} on {each.host} has given no sign of life for "
            f"{lasting(seen.seconds(each.seen_at))}: it was killed, it hangs, or it cannot reach its database. "
            "No other process does its work: its supervisor should have started it again."
        )
        title = f"A {each.role} process on {each.host} is gone"
        subject = f"{each.host}:{each.pid}"
        yield warning("process_gone", title, text, subject=subject, action="eventkit status", since=each.seen_at)


def _work(process: ProcessInsight) -> str:
    """Return the work of a process; processes of the same role and work stand in for each other."""
    return process.name if process.role in _NAMED_ROLES else ""


def _has_item(process: ProcessInsight) -> bool:
    """Return whether other items report the work of a process that nobody does: projections, and rebuilds."""
    return process.role == "rebuild" or bool(process.state.get("projections"))


def inbox(seen: Observations) -> Iterator[Attention]:
    """Report an inbox that nobody prunes."""
    if seen.inbox.value >= LARGE_INBOX:
        messages = some(seen.inbox, "message")
        text = f"It remembers {messages}, to recognize repeated ones. Those that no broker repeats only cost space."
        action = "eventkit inbox prune --older-than 30d"
        yield warning("inbox_large", "The inbox is large", text, subject="inbox", action=action)


def slots(seen: Observations) -> Iterator[Attention]:
    """Report replication slots whose reader is gone: the disk fills, or changes are lost for it.

    Debezium's own slot has conditions of its own; who drops it while Debezium sends loses its place.
    """
    own = seen.relay.debezium.slot if seen.relay.debezium else None
    for slot in (each for each in seen.slots if each.name != own):
        lost = slot.wal_status in ("lost", "unreserved")
        if not lost and (slot.is_active or (slot.retained or 0) <= MOST_RETAINED):
            continue
        harm = (
            "changes are lost for its reader"
            if lost
            else f"it keeps {(slot.retained or 0) / 1e9:,.1f} GB of log on the disk"
        )
        text = f"Nobody reads replication slot {slot.name}, and {harm}. Restart its reader, or drop the slot."
        title = f"Replication slot {slot.name} is not read"
        action = psql(f"select pg_drop_replication_slot('{slot.name}')")
        yield critical("slot_lost", title, text, subject=slot.name, action=action)


def installation(seen: Observations) -> Iterator[Attention]:
    """Report a database that was restored or copied: every process refuses to work on it."""
    if seen.installation.has_moved:
        text = (
            f"It was on {seen.installation.remembered} and is on {seen.installation.here}. Relays, projectors and "
            "timers refuse to work until you say whether the original is gone for good (--moved) or in use (--clone)."
        )
        action = "eventkit db adopt"
        yield critical("installation_moved", "The database has moved", text, subject="database", action=action)
