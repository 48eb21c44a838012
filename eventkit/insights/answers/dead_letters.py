"""Answers about dead letters."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from eventkit.insights.answers.amounts import Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterGroup:
    """Dead letters with the same projection, cause and category."""

    parked_by: str  # `relay`, or the projection's name
    generation: int | None  # None for the relay
    is_stale: bool  # the generation is neither live nor being built
    cause: str
    category: str
    amount: Amount
    first_parked_at: datetime
    last_parked_at: datetime
    example: int  # id of the last letter
    error: str  # of the last letter


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterInsight:
    """A dead letter; `data`, `headers` and `detail` only with `payload=True`."""

    id: int
    parked_by: str  # `relay`, or the projection's name
    generation: int | None
    is_stale: bool
    stream: str
    category: str
    version: int
    position: int | None
    event_id: str
    type: str
    cause: str
    error: str
    attempts: int
    parked_at: datetime
    asked_by: str | None  # the actor of a redrive request that is not served yet
    detail: str | None = None
    headers: dict[str, Any] | None = None
    data: str | None = None  # JSON, or the received bytes as text
    behind: Amount | None = None  # events that wait behind it; only of a single letter
