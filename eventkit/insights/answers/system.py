"""Answers about tables, settings and operators' actions."""

from dataclasses import dataclass
from datetime import datetime

from eventkit.insights.answers.amounts import Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class TableInsight:
    """The size of a table."""

    name: str
    rows: Amount
    bytes: int  # with indexes
    dead_rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SizesInsight:
    """The sizes of all tables, the largest first, and the inbox."""

    tables: tuple[TableInsight, ...]
    bytes: int  # of all tables
    inbox: Amount  # messages
    oldest_message_at: datetime | None  # in the inbox
    oldest_event_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingInsight:
    """A setting of this process; secrets in it are masked."""

    name: str
    value: str | None
    origin: str  # default, an option, a variable of the environment, or a file


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionInsight:
    """An operator's action."""

    id: str
    at: datetime
    actor: str
    action: str
    subject: str
    detail: str
