"""Conditions of projections, process managers and handlers: nobody applies events, or events wait."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from eventkit.insights.answers import HandlerWaitInsight, ProcessInsight, ProjectionInsight
from eventkit.insights.attention.item import Attention, critical, warning
from eventkit.insights.attention.observations import Observations
from eventkit.insights.attention.relay_conditions import LONG_PAUSE
from eventkit.insights.attention.words import explained, lasting, place, restart, some

BEHIND = 60.0  # seconds of age of an event that is not applied
FAR_BEHIND = 300.0  # seconds of age at which a projection that works is reported, too
SLOW = 900.0  # seconds until it has caught up that are worth a person's time
LONG_WAIT = 60.0  # seconds that a handler may wait for a service that it calls
LONG_RETRY = 900.0  # seconds that single streams may be retried
_CLOSE = 1.0  # seconds between two events that count as recorded together
START_TIMEOUT = 60.0  # seconds in which the process of a rebuild shows itself


def projections(seen: Observations) -> Iterator[Attention]:
    """Report the main trouble of each projection; a pause hides the lag that it makes."""
    for each in seen.projections:
        if each.paused is None:
            yield from _trouble(seen, each)
        elif seen.seconds(each.paused.paused_at) > LONG_PAUSE:
            yield _paused(seen, each)


def _trouble(seen: Observations, each: ProjectionInsight) -> Iterator[Attention]:
    late = each.lag_seconds or 0.0
    if not each.run_by:
        last = _last(seen.processes, each.name)
        if late > BEHIND or (last and not last.is_clean):
            yield _without_process(seen, each, last)
    elif each.declared_version > each.version and each.rebuild is None:
        yield _needs_rebuild(seen, each)
    elif each.waits:
        yield _waits(each)
    elif _is_unsent(seen, each):
        return
    elif late > BEHIND and not each.rate:
        yield _stands(each)
    elif late > FAR_BEHIND and (each.seconds_to_catch_up is None or each.seconds_to_catch_up > SLOW):
        yield _behind(each)


def _is_unsent(seen: Observations, each: ProjectionInsight) -> bool:
    """Return whether the oldest event that a projection lacks was not sent to it: the relay is reported instead."""
    reads_store = each.position is not None
    return not reads_store and seen.seconds(seen.relay.oldest_unsent_at) + _CLOSE >= (each.lag_seconds or 0.0)


class _Last(NamedTuple):
    """The last process that ran a projection: it ended cleanly, or has given no sign of life since."""

    ended_at: datetime
    place: str  # host:pid
    is_clean: bool


def _last(processes: Sequence[ProcessInsight], name: str) -> _Last | None:
    """Return the last process of a projection; None where none has died."""
    gone = [each for each in processes if each.is_gone and name in (each.state.get("projections") or {})]
    return max(map(_end, gone), default=None)


def _end(process: ProcessInsight) -> _Last:
    """Return the end of a dead process, or that of a later one that has done its work."""
    successor = process.state.get("successor")
    if successor is None:
        return _Last(process.seen_at, f"{process.host}:{process.pid}", is_clean=False)
    ended_at = datetime.fromisoformat(successor["ended_at"])
    return _Last(ended_at, f"{successor['host']}:{successor['pid']}", is_clean=True)


def _lag(each: ProjectionInsight) -> str:
    events = "" if each.lag_events is None else f"{some(each.lag_events, 'event')} behind the store, "
    return f"{events}the oldest of them recorded {lasting(each.lag_seconds or 0.0)} ago"


def _without_process(seen: Observations, each: ProjectionInsight, last: _Last | None) -> Attention:
    if last is None:
        reason = "No process runs it here."
    elif last.is_clean:
        reason = f"Its last process {last.place} was ended at {last.ended_at:%Y-%m-%d %H:%M:%S} UTC."
    else:
        reason = (
            f"Its last process {last.place} has given no sign of life for {lasting(seen.seconds(last.ended_at))}: it "
            "was killed, it hangs, or it cannot reach its database."
        )
    lag = f" It is {_lag(each)}." if each.lag_seconds else ""
    action = restart(seen, each.name) or f"eventkit projector run {place(seen, each.name)}"
    return critical(
        "projection_without_process",
        f"Projection {each.name} has no process",
        f"{reason}{lag} Start it; if it is not wanted any more, `eventkit projection delete {each.name}`."
        f"{explained(action)}",
        subject=each.name,
        action=action,
        since=last.ended_at if last else None,
    )


def _waits(each: ProjectionInsight) -> Attention:
    return critical(
        "projection_waits",
        f"Projection {each.name} waits",
        f"Its process applies nothing: {each.waits}. It continues by itself when the cause is removed.",
        subject=each.name,
        action=f"eventkit projection status {each.name}",
    )


def _stands(each: ProjectionInsight) -> Attention:
    return critical(
        "projection_stands",
        f"Projection {each.name} does not move",
        f"A process runs it and applies nothing. It is {_lag(each)}.",
        subject=each.name,
        action=f"eventkit projection status {each.name}",
    )


def _behind(each: ProjectionInsight) -> Attention:
    if each.seconds_to_catch_up is None:
        outlook = "at this rate it does not catch up"
    else:
        outlook = f"at this rate it catches up in {lasting(each.seconds_to_catch_up)}"
    return warning(
        "projection_behind",
        f"Projection {each.name} is far behind",
        f"It is {_lag(each)}. It applies {each.rate:,.0f} events a second; {outlook}. Start more processes, up to the "
        "number of the topic's partitions.",
        subject=each.name,
        action=f"eventkit projection status {each.name}",
    )


def _needs_rebuild(seen: Observations, each: ProjectionInsight) -> Attention:
    action = f"eventkit projection rebuild {place(seen, each.name)}"
    return critical(
        "projection_version",
        f"Projection {each.name} waits for its rebuild",
        f"Its code declares version {each.declared_version}, and version {each.version} is live. Processes with the "
        f"new code apply nothing until it is rebuilt.{explained(action)}",
        subject=each.name,
        action=action,
    )


def _paused(seen: Observations, each: ProjectionInsight) -> Attention:
    assert each.paused is not None  # noqa: S101 the caller has looked
    reason = f" ({each.paused.reason})" if each.paused.reason else ""
    lag = f" It is {_lag(each)}." if each.lag_seconds else ""
    return warning(
        "paused_long",
        f"Projection {each.name} is paused for {lasting(seen.seconds(each.paused.paused_at))}",
        f"{each.paused.paused_by} has paused it{reason}.{lag}",
        subject=each.name,
        action=f"eventkit projection resume {each.name}",
        since=each.paused.paused_at,
    )


def handlers(seen: Observations) -> Iterator[Attention]:
    """Report handlers whose events wait for a service that they call."""
    for each in seen.projections:
        for wait in each.handler_waits:
            seconds = seen.seconds(wait.since)
            if seconds <= (LONG_WAIT if wait.is_open else LONG_RETRY):
                continue
            text = (
                f"{wait.handler} of {each.name} has failed {wait.attempts} times in {wait.process}: {wait.reason}. "
                f"{_waiting(wait)} tried again until the service is back."
            )
            title = f"Projection {each.name} waits for a service: {wait.type}"
            action = f"eventkit projection status {each.name}"
            kind = critical if wait.is_open else warning
            yield kind("handler_waits", title, text, subject=each.name, action=action, since=wait.since)


def _waiting(wait: HandlerWaitInsight) -> str:
    if wait.streams == 1:
        return f"1 stream with {wait.type} waits, and is"
    return f"{wait.streams:,} streams with {wait.type} wait, and are"


def rebuilds(seen: Observations) -> Iterator[Attention]:
    """Report rebuilds without a live process: they hold the new tables, and never end."""
    for each in seen.projections:
        work = each.rebuild
        if work is None or work.process is not None or seen.seconds(work.started_at) <= START_TIMEOUT:
            continue
        action = f"eventkit projection rebuild {place(seen, each.name)} --resume"
        text = (
            f"The rebuild of {each.name} to version {work.version} has stopped at {work.done:,} of {work.total:,} "
            f"events: no process works on it. The live read model is served meanwhile.{explained(action)}"
        )
        title = f"The rebuild of {each.name} has stopped"
        yield warning("rebuild_stopped", title, text, subject=each.name, action=action, since=work.started_at)
