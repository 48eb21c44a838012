"""The answers of `Insights`: frozen dataclasses, which `dataclasses.asdict` turns into plain values.

Times are aware datetimes, ids of processes and events are text. An `Amount` says whether it was counted: counting ends
at a limit, and above the limit the value is an estimate.
"""

from eventkit.insights.answers.amounts import Amount, Page
from eventkit.insights.answers.dead_letters import DeadLetterGroup, DeadLetterInsight
from eventkit.insights.answers.events import CausedEvent, EventInsight, StreamInsight, StreamPlace
from eventkit.insights.answers.processes import ProcessInsight, ProcessRowInsight, TimerInsight, TimersInsight
from eventkit.insights.answers.projections import HandlerWaitInsight, ProjectionInsight, RebuildInsight, ShardInsight
from eventkit.insights.answers.publishing import (
    DebeziumInsight,
    HeldTopic,
    PartInsight,
    PauseInsight,
    PublisherInsight,
    RelayInsight,
)
from eventkit.insights.answers.system import ActionInsight, SettingInsight, SizesInsight, TableInsight

__all__ = [
    "ActionInsight",
    "Amount",
    "CausedEvent",
    "DeadLetterGroup",
    "DeadLetterInsight",
    "DebeziumInsight",
    "EventInsight",
    "HandlerWaitInsight",
    "HeldTopic",
    "Page",
    "PartInsight",
    "PauseInsight",
    "ProcessInsight",
    "ProcessRowInsight",
    "ProjectionInsight",
    "PublisherInsight",
    "RebuildInsight",
    "RelayInsight",
    "SettingInsight",
    "ShardInsight",
    "SizesInsight",
    "StreamInsight",
    "StreamPlace",
    "TableInsight",
    "TimerInsight",
    "TimersInsight",
]
