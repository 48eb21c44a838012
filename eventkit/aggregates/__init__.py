"""Aggregates: state folded from one stream's events, decisions in plain Python, appended if nobody was faster.

A class (`Aggregate`, `evolve`) or three functions (`Decider`) are declared over one engine, the `Fold`: pure, no I/O,
no clock. A `Repository` loads and saves them on the caller's own session or connection, the caller commits;
`retry_on_conflict` runs a whole unit of work again when another writer was first. Refused: an event that the fold does
not take, a stream with missing versions.
"""

from eventkit.aggregates.aggregate import Aggregate, evolve
from eventkit.aggregates.decider import Decider, Deciding
from eventkit.aggregates.decision_model import DecisionModel, Decisions
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
    "retry_on_conflict",
    "retry_on_conflict_async",
    "track_of",
]
