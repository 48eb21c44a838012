"""The database checks of `eventkit doctor`: a list of functions, each of which yields findings.

A finding that is not `safe` is a fault: events may be lost, or wait for an operator. A safe finding with a reason is a
remark. No check needs a name as its input, and none reads a growing table as a whole.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from eventkit.insights.answers import ProjectionInsight
from eventkit.insights.projections import projection_state
from eventkit.insights.reader import InsightReader
from eventkit.storage.debezium import ConnectSlot, Mode, Replication, read_mode, slot_name
from eventkit.storage.events import held_topics, known_topics
from eventkit.storage.outbox import lease_name, lock_holders_of
from eventkit.storage.projections import ConsumerGroups, HandlerWaits
from eventkit.storage.schema import SOME, Health, ReplicationSlot, look, unknown_server
from eventkit.transports.base import Finding

Check = Callable[[Health], Iterator[Finding]]

LATE = 60.0  # seconds that an event may wait before it counts as a fault
_MAX_RETAINED = 1 << 30  # bytes of write-ahead log that an inactive slot may retain
_MAX_NAMED = 8  # parts without a relay in a finding
_OWN = re.compile(r"(index|column|trigger) (\S+) is not ours")
_STORAGE = re.compile(r"storage of \S+ is '(.*)', must be '(.*)'")


def checked(health: Health) -> Iterator[Finding]:
    """Return the findings of all checks."""
    return chain.from_iterable(check(health) for check in CHECKS)


def encoding(health: Health) -> Iterator[Finding]:
    """Check that the database's encoding can store every text of an event."""
    found, _ = health.settings()
    reason = "events with other characters cannot be stored: create the database with encoding UTF8"
    yield _finding("server_encoding", found, "UTF8", safe=found == "UTF8", reason=reason)


def schema_name(health: Health) -> Iterator[Finding]:
    """Report a role whose default schema is eventkit's, because it has the same name."""
    _, is_role = health.settings()
    if is_role:
        reason = 'its search path ("$user") finds eventkit\'s tables first: rename the schema or the role'
        yield _finding("schema name", f"a role is named {health.schema}", "no role of that name", reason=reason)


def installation(health: Health) -> Iterator[Finding]:
    """Report a moved or copied database, a server that hides its identity, and a failover."""
    found = look(health.connection, health.schema)
    if found.has_moved:
        reason = (
            "no process works here: run `eventkit db adopt --moved` if the other database is gone for good, or "
            "`--clone` if it is still in use"
        )
        yield _finding("installation", f"on {found.here}", f"on {found.remembered}", reason=reason)
    elif found.here.system_identifier is None:
        yield _finding("installation", f"on {found.here}", "a known server", safe=True, reason=unknown_server(found))
    elif found.has_failed_over:
        timelines = found.here.timeline, found.remembered.timeline
        reason = "a failover may have lost events: `eventkit projection verify` compares read models with the store"
        yield _finding("timeline", f"{timelines[0]}", f"{timelines[1]}", safe=True, reason=reason)


def outbox(health: Health) -> Iterator[Finding]:
    """Report unsent events, and parts of the shards that no relay holds."""
    waiting = health.waiting()
    late = (waiting.age or 0.0) > LATE
    found = f"{_count(waiting.events)} unsent" + (f", the oldest for {waiting.age:,.0f} s" if waiting.age else "")
    reason = "no relay sends them, or the broker refuses them: see the relay's log, and the findings below"
    yield _finding("outbox", found, f"sent within {LATE:.0f} s", safe=not late, reason=reason)
    of = health.relay_parts()
    held = {lease.name for lease in health.leases() if lease.is_held}
    missing = [name for part in range(of) if (name := lease_name(part, of)) not in held]
    if missing and waiting.events:
        more = f" and {len(missing) - _MAX_NAMED} more" if len(missing) > _MAX_NAMED else ""
        names = f"nobody holds {', '.join(missing[:_MAX_NAMED])}{more}" if len(missing) < of else "none runs"
        wanted = "one that runs" if of == 1 else f"one that runs, for all {of} parts"
        holders = lock_holders_of(health.connection, health.schema, missing)
        reason = next(
            (
                f"session {holder.pid} ({holder.application or 'without a name'}) holds the lock of {lease}, so that "
                f'no relay can take it: end it with `psql "$EVENTKIT_DATABASE_URL" -c \'select '
                f"pg_terminate_backend({holder.pid})'`"
                for lease, holder in holders.items()
            ),
            "start `eventkit relay run`: relays share the parts by themselves",
        )
        yield _finding("relay", names, wanted, safe=not late, reason=reason)


def publisher(health: Health) -> Iterator[Finding]:
    """Report who sends the events, and whether Debezium can: its slot, its publication, the limit of the WAL."""
    mode = read_mode(health.connection, health.schema)
    replication = Replication(health.connection, health.schema, slot_name(health.connection, health.schema))
    slot = replication.look()
    if mode is Mode.RELAY:
        if slot is not None:
            reason = (
                "the server keeps the log for it: run `eventkit db mode relay` again, or `eventkit db mode debezium`"
            )
            yield _finding("debezium", f"slot {slot_shown(slot)}, while the relay sends", "no slot", reason=reason)
        return
    steps = "" if mode is Mode.DEBEZIUM else "a switch is under way: `eventkit db mode debezium` or `relay` ends it"
    yield _finding("mode", mode, "relay or debezium", safe=True, reason=steps)
    if mode is Mode.TO_DEBEZIUM:
        return
    reads = slot is not None and not slot.is_lost and slot.reader is not None
    reason = "start the connector of `eventkit debezium config`: events wait in the write-ahead log"
    if slot is None or slot.is_lost:
        reason = "events may be unsent: `eventkit db mode relay --again-since` lets the relay send them again"
    found = "missing" if slot is None else slot_shown(slot)
    yield _finding(f"debezium slot {replication.name}", found, "read by Connect", safe=reads, reason=reason)
    published = replication.is_published()
    reason = "the connector fails, or sends other rows: run `eventkit db mode relay`, then `eventkit db mode debezium`"
    found = "the inserts of debezium_outbox" if published else "missing, or of other rows"
    yield _finding("debezium publication", found, "the inserts of debezium_outbox", safe=published, reason=reason)
    yield _limit(replication.limit())


def slot_shown(slot: ConnectSlot) -> str:
    """Return a slot's state in words."""
    reader = "lost" if slot.is_lost else "not read" if slot.reader is None else f"read by process {slot.reader}"
    left = "" if slot.left is None else f", lost after {slot.left / 1e6:,.0f} MB more"
    return f"{reader}, {slot.behind / 1e6:,.1f} MB behind, keeps {slot.retained / 1e6:,.1f} MB{left}"


def _limit(limit: str | None) -> Finding:
    if limit is None:
        reason = "a Connect that is down for long fills the disk; with a limit, its slot is lost instead"
        return _finding("max_slot_wal_keep_size", "no limit", "one that you chose", safe=True, reason=reason)
    reason = "a Connect that is further behind has lost its slot, and the relay has to send the events again"
    return _finding("max_slot_wal_keep_size", limit, "more than Connect is ever behind", safe=True, reason=reason)


def held(health: Health) -> Iterator[Finding]:
    """Report topics that the relay does not send to, with the reason."""
    for topic, found in held_topics(health.connection, health.schema).items():
        reason = "its events wait in the outbox, and are sent when the cause is removed"
        yield _finding(f"topic {topic}", f"held by the relay: {found}", "not held", reason=reason)


def letters(health: Health) -> Iterator[Finding]:
    """Report dead letters by the projection or relay that parked them: their streams wait for an operator."""
    for by, count in health.letters().items():
        reason = "their streams wait: `eventkit dead-letters list`, then redrive or discard them"
        yield _finding("dead letters", f"{_count(count)} of {by}", "none", reason=reason)


def projections(health: Health) -> Iterator[Finding]:
    """Report read models that are behind and have no projector, and parked streams without a letter."""
    sessions = health.sessions()
    for item in _all_projections(health):
        # A session's name is cut after 63 characters; only a process of the command has a heartbeat.
        runs = bool(item.run_by) or any(_runs(session, item.name) for session in sessions)
        lag, seconds = item.lag_events, item.lag_seconds or 0.0
        if lag and lag.value and not runs:
            reason = "no projector of it is connected here: start one, or `eventkit projection delete` it"
            found = f"{lag.value:,} events behind, {seconds:,.0f} s"
            yield _finding(f"projection {item.name}", found, "a projector", safe=seconds <= LATE, reason=reason)
        if item.parked_streams.value and not item.dead_letters.value:
            found = f"{item.parked_streams.value:,} streams parked without a letter"
            reason = "a redrive cannot find them: run `eventkit projection rebuild`"
            yield _finding(f"projection {item.name}", found, "none", reason=reason)


def _all_projections(health: Health) -> Iterator[ProjectionInsight]:
    reader, after = InsightReader(health.connection, health.schema), None
    while True:
        page = projection_state.page(reader, reader, after=after, limit=50, exact=False)
        yield from page.items
        if page.next is None:
            return
        after = page.next


def waits(health: Health) -> Iterator[Finding]:
    """Report handlers whose breaker is open: their events wait for a service that they call."""
    for wait in HandlerWaits(health.schema).all(health.connection):
        if wait.is_open:
            streams = f"{wait.streams:,} stream{'' if wait.streams == 1 else 's'}"
            found = f"{streams} of {wait.type} wait for {wait.seconds:,.0f} s in {wait.process}: {wait.reason}"
            reason = f"a service that {wait.handler} calls is unavailable; its events are retried until it is back"
            safe = wait.seconds <= LATE
            yield _finding(f"projection {wait.projection}", found, "no open breaker", safe=safe, reason=reason)


def slots(health: Health) -> Iterator[Finding]:
    """Report the replication slots of this database; one that is lost or retains much write-ahead log is a fault.

    `publisher` reports the slot of Debezium: who drops it while Debezium sends loses its place.
    """
    own = slot_name(health.connection, health.schema)
    for slot in (each for each in health.slots() if each.name != own):
        lost = slot.wal_status in ("lost", "unreserved")
        much = not slot.is_active and (slot.retained or 0) > _MAX_RETAINED
        if lost or much:
            reason = "its reader is gone: the disk fills, or changes are lost for it; restart it or drop the slot"
            yield _finding(f"slot {slot.name}", _shown(slot), "active", reason=reason)
        else:
            reason = "" if slot.is_active else "an inactive slot keeps the write-ahead log"
            yield _finding(f"slot {slot.name}", _shown(slot), "active", safe=True, reason=reason)


def publications(health: Health) -> Iterator[Finding]:
    """Report publications that include eventkit's tables or read models without naming them."""
    for name, scope in health.publications():
        reason = "subscribers get eventkit's tables, or keep a read model's old rows after a rebuild: name tables"
        yield _finding(f"publication {name}", scope, "named tables", safe=True, reason=reason)


def categories(health: Health) -> Iterator[Finding]:
    """Report categories whose events go to several topics, because two catalogs write them."""
    topics: dict[str, list[str]] = {}
    for topic in sorted(known_topics(health.connection, health.schema)):
        topics.setdefault(topic.rpartition(".")[2], []).append(topic)
    for category, found in topics.items():
        if len(found) > 1:
            reason = "projectors read one of them only with --topic: give each catalog categories of its own"
            setting = f"category {category}"
            yield _finding(setting, ", ".join(found), "one catalog", safe=True, reason=reason)


def groups(health: Health) -> Iterator[Finding]:
    """Report consumer groups of deleted projections that are still at a broker."""
    for group in ConsumerGroups(health.schema).all(health.connection):
        if group.abandoned:
            reason = "a broker keeps messages for it: the next start of a projector removes it"
            found = f"left by {group.projection} at {group.broker}"
            yield _finding(f"group {group.name}", found, "removed", safe=True, reason=reason)


CHECKS: tuple[Check, ...] = (
    encoding,
    schema_name,
    installation,
    outbox,
    publisher,
    held,
    letters,
    projections,
    waits,
    slots,
    publications,
    categories,
    groups,
)


def tables(health: Health, differences: Iterable[str]) -> Iterator[Finding]:
    """Report differences of the tables; an operator's own index, column, trigger or fillfactor is no fault."""
    for text in differences:
        if _is_own(health, text):
            reason = "made by an operator: no fault, unless it slows down or refuses eventkit's writes"
            yield _finding("tables", text, "as this release made them", safe=True, reason=reason)
        else:
            yield _finding("tables", text, "as this release made them", reason="see `eventkit db verify`")


def _is_own(health: Health, text: str) -> bool:
    if own := _OWN.match(text):
        return own[1] != "column" or own[2] not in health.required_columns()
    if storage := _STORAGE.fullmatch(text):
        found, wanted = (set(part.split(", ")) for part in storage.groups())
        return all(option.startswith("fillfactor") for option in wanted - found)
    return False


def _finding(setting: str, found: str, wanted: str, *, reason: str, safe: bool = False) -> Finding:
    return Finding(setting, found, wanted, safe, reason, stops=False)


def _count(count: int) -> str:
    more = "more than " if count >= SOME else ""
    return f"{more}{count:,} event{'' if count == 1 else 's'}"


def _runs(session: str, projection: str) -> bool:
    """Return whether a session's name belongs to a process that runs a projection."""
    kind, _, name = session.removeprefix("eventkit ").rpartition(" ")
    return name == projection and kind.partition(" ")[0] in ("projector", "responder")


def _shown(slot: ReplicationSlot) -> str:
    state = "active" if slot.is_active else "inactive"
    retained = "" if slot.retained is None else f", keeps {slot.retained / 1e6:,.0f} MB"
    return f"{slot.plugin}, {state}{retained}"
