"""The screen of `eventkit status`: first the attention list, then one table for each part of the system."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from eventkit.cli.common.durations import ago
from eventkit.cli.common.output import cell
from eventkit.cli.common.tables import add_row, new_table, prose
from eventkit.cli.status.system import SystemStatus
from eventkit.insights import (
    Amount,
    Attention,
    PauseInsight,
    ProcessInsight,
    ProjectionInsight,
    RelayInsight,
    publisher_words,
    state_words,
)
from eventkit.observability.durations import in_largest_unit

_STYLES = {"critical": "bold red", "warning": "yellow"}
_NOTHING = "-"
_HEAD = 3  # lines above the attention list, and one that stays free
_INDENT = 10  # columns before the text of an item: the length of an urgency, and two spaces


def shown(status: SystemStatus, schema: str, *, fitting: Console | None = None) -> RenderableType:
    """Return the screen; the attention list fits the height of `fitting`, which cuts the rest."""
    items = status.attention
    return Group(
        Text(cell(f"schema {schema} at {status.at:%Y-%m-%d %H:%M:%S} UTC")),
        Text(),
        *([] if items else [Text("nothing needs you", style="green")]),
        *(map(_in_full, items) if fitting is None else fitted(items, fitting)),
        *_section("relay", _relay_text(status.relay), _parts(status.relay)),
        *_section("projections", "", _projections(status), more="projections" in status.more),
        *_section("dead letters", "", _letters(status), more="dead_letters" in status.more),
        *_section("deadlines", _timers_text(status), None),
        *_section("processes", "", _processes(status.processes), more="processes" in status.more),
    )


def _section(title: str, text: str, table: Table | None, *, more: bool = False) -> Iterator[RenderableType]:
    """Yield a heading with a text beside it, and a table below it."""
    is_empty = table is None or not table.row_count
    rest = text or ("none" if is_empty else "")
    yield Text()
    yield Text.assemble((title.upper(), "bold"), f"  {cell(rest)}" if rest else "")
    if table is not None and not is_empty:
        yield table
    if more:
        yield Text("... and more (--limit)")


def fitted(items: Sequence[Attention], console: Console) -> list[RenderableType]:
    """Return the first items in full, the others by their titles, and a line if there is no room for all of it."""
    room = console.height - _HEAD

    def lines(parts: Sequence[RenderableType]) -> int:
        return len(console.render_lines(Group(*parts), pad=False)) if parts else 0

    titles = [_title(item) for item in items]
    for count in range(len(items), -1, -1):
        parts = [*map(_in_full, items[:count]), *titles[count:]]
        if count < len(items):
            parts.append(Text("in full: eventkit status"))
        if lines(parts) <= room:
            return parts
    count = max(1, len(items) - 1)
    while count > 1 and lines(titles[:count]) >= room:
        count -= 1
    return [*titles[:count], Text(f"and {len(items) - count} more: eventkit status")]


def _title(item: Attention) -> RenderableType:
    since = f" (for {ago(item.since)})" if item.since else ""
    return Text.assemble(
        (f"{item.urgency:<{_INDENT}}", _STYLES.get(item.urgency, "")), (cell(item.title), "bold"), since
    )


def _in_full(item: Attention) -> RenderableType:
    action = [Padding(Text(f"$ {cell(item.action)}"), (0, 0, 0, _INDENT))] if item.action else []
    link = Padding(Text(f"see {cell(item.link)}"), (0, 0, 0, _INDENT))
    return Group(_title(item), prose(cell(item.text), indent=_INDENT), *action, link)


def _relay_text(relay: RelayInsight) -> str:
    parts = [publisher_words(relay)]
    if relay.mode != "debezium":  # then the outbox is empty
        parts += [f"{amount(relay.unsent)} unsent{_for(relay.oldest_unsent_at)}", f"{relay.rate:,.0f}/s"]
    parts += [f"topic {held.topic} held for {ago(held.since)}" for held in relay.held_topics]
    parts += [f"topic {pause.name} {_paused(pause)}" for pause in relay.paused_topics]
    if relay.swept:
        parts.append(f"{relay.swept:,} events were skipped: a bug, please report it")
    return "; ".join(parts)


def _parts(relay: RelayInsight) -> Table:
    table = new_table("part", "leader", "epoch", "since", "standbys", right=("epoch", "since", "standbys"))
    needed = [part for part in relay.parts if part.leader or relay.mode != "debezium"]
    for part in needed:
        since = ago(part.since) if part.since else _NOTHING
        row = (part.leader or "nobody", part.epoch, since, len(part.standbys))
        add_row(table, f"{part.number}/{part.of}", *row)
    return table


def _projections(status: SystemStatus) -> Table:
    numbers = ("v", "behind", "age", "rate/s", "parked", "letters")
    table = new_table("projection", *numbers, "run by", "state", right=numbers)
    for item in status.projections:
        add_row(
            table,
            item.name,
            item.version,
            _NOTHING if item.lag_events is None else amount(item.lag_events),
            _NOTHING if item.lag_seconds is None else _seconds(item.lag_seconds),
            f"{item.rate:,.0f}",
            amount(item.parked_streams),
            amount(item.dead_letters),
            ", ".join(status.hosts.get(process, process[:8]) for process in item.run_by) or "nobody",
            "; ".join(_states(item, status.relay)),
        )
    return table


def _states(item: ProjectionInsight, relay: RelayInsight) -> Iterator[str]:
    """Yield the state of a projection, and anything unusual about it."""
    if item.paused is not None:
        yield _paused(item.paused)
    elif item.run_by and item.waits:
        yield f"waits: {item.waits}"
    else:
        yield state_words(item, relay)
    if item.declared_version != item.version:
        yield f"version {item.declared_version} waits for its rebuild"
    if item.rebuild is not None:
        share = 100 * item.rebuild.done / max(item.rebuild.total, 1)
        dead = "" if item.rebuild.process else ", nobody runs it"
        yield f"rebuild of version {item.rebuild.version}: {share:.0f} %{dead}"
    if item.handler_waits:
        yield f"{len(item.handler_waits)} handlers wait"
    if item.seconds_to_catch_up:
        yield f"caught up in {_seconds(item.seconds_to_catch_up)}"


def _letters(status: SystemStatus) -> Table:
    table = new_table("of", "cause", "category", "letters", "first", "last error", right=("letters", "first"))
    for group in status.dead_letters:
        cause = f"{group.cause}, replaced" if group.is_stale else group.cause
        row = (amount(group.amount), ago(group.first_parked_at), group.error)
        add_row(table, group.parked_by, cause, group.category, *row)
    return table


def _timers_text(status: SystemStatus) -> str:
    """Return the state of the deadlines; nothing where there are none and no process would fire them."""
    timers = status.timers
    if not (timers.waiting.value or timers.due.value or timers.leader):
        return ""
    next_at = f", the next at {timers.next_due_at:%Y-%m-%d %H:%M:%S}" if timers.next_due_at else ""
    overdue = f"{amount(timers.overdue)} overdue{_for(timers.oldest_overdue_at)}"
    by = f"fired by {timers.leader}" if timers.leader else "nobody fires them"
    return f"{amount(timers.waiting)} set{next_at}; {overdue}; {by}"


def _processes(processes: Sequence[ProcessInsight]) -> Table:
    table = new_table("role", "name", "process", "version", "up", "seen", right=("up", "seen"))
    for process in processes:
        seen = f"{ago(process.seen_at)} ago{', gone' if process.is_gone else ''}"
        row = (process.name, f"{process.host}:{process.pid}", process.version, ago(process.started_at), seen)
        add_row(table, process.role, *row)
    return table


def amount(value: Amount) -> str:
    """Return a number, with ~ where it is an estimate."""
    return f"{'' if value.is_exact else '~'}{value.rounded:,}"


def _for(moment: datetime | None) -> str:
    return f", the oldest for {ago(moment)}" if moment else ""


def _paused(pause: PauseInsight) -> str:
    return f"paused by {pause.paused_by} for {ago(pause.paused_at)}{f': {pause.reason}' if pause.reason else ''}"


def _seconds(seconds: float) -> str:
    """Return seconds in the largest unit that gives a number of at least two."""
    count, unit = in_largest_unit(seconds)
    return f"{count:,.1f}s" if unit == "s" else f"{count:,.0f}{unit[0]}"
