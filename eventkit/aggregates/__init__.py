"""Aggregates: state folded from one stream's events, and decisions in plain Python, with optimistic concurrency.

A class (`Aggregate`, `evolve`) or three functions (`Decider`) define a `Fold`, without I/O and clock. A `Repository`
loads and saves aggregates on the caller's session or connection; the caller commits. `retry_on_conflict` runs a unit of
work again after a version conflict. Loading fails for an event that the fold does not handle, and for a stream with
missing versions.
"""

from eventkit.aggregates.aggregate import Aggregate, evolve
from eventkit.aggregates.decider import Decider, Deciding
from eventkit.aggregates.decision_model import DecisionModel, Decisions, fold_of_model, items_of_model
from eventkit.aggregates.repository import Repository, fold_for
from eventkit.aggregates.retry import retry_on_conflict, retry_on_conflict_async
from eventkit.aggregates.snapshots import Snapshots
from eventkit.aggregates.track import Track, track_of

__all__ = [
    "Aggregate",
    "Decider",
    "Deciding",
    "DecisionModel",
    "Decisions",
    "Repository",
    "Snapshots",
    "Track",
    "evolve",
    "fold_for",
    "fold_of_model",
    "items_of_model",
    "retry_on_conflict",
    "retry_on_conflict_async",
    "track_of",
]
