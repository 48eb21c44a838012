"""Answers about processes: those of eventkit, deadlines, and the rows of process managers."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from eventkit.insights.answers.amounts import Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class TimersInsight:
    """The deadlines, without those of archived streams."""

    waiting: Amount  # set, and not due yet
    due: Amount
    overdue: Amount  # due for more than five seconds
    next_due_at: datetime | None  # of those not due yet
    oldest_overdue_at: datetime | None
    leader: str | None  # host:pid of the worker that fires them
    rate: float  # fired a second


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerInsight:
    """A deadline that is set, without its event's data."""

    stream: str
    name: str
    due_at: datetime
    is_due: bool
    type: str
    event_id: str
    set_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessInsight:
    """A process that has written a heartbeat; one that has not ended cleanly stays for a day."""

    id: str
    role: str
    name: str
    host: str
    pid: int
    version: str  # of eventkit
    started_at: datetime
    seen_at: datetime
    is_gone: bool  # dead, hung, or without its database for 15 seconds
    state: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRowInsight:
    """A row of a process manager: a process that runs."""

    manager: str
    key: tuple[str, ...]  # the values of its primary key
    row: str  # JSON; the service's own data
