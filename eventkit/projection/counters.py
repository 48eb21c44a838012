"""Counts the events that a projector has committed since its start."""

from dataclasses import asdict, dataclass, fields
from typing import Self

from eventkit.observability import metrics
from eventkit.observability.instruments import Reading


@dataclass(slots=True)
class Counters:
    """Events by outcome. `unhandled` events are also `applied`: their stream's checkpoint has advanced past them."""

    applied: int = 0
    duplicates: int = 0
    unknown: int = 0  # at or below a checkpoint, but not provably duplicates: pruned, or not of the store
    unhandled: int = 0
    parked: int = 0  # kept as dead letters, including those behind a parked event
    repaired: int = 0  # missing in the transport, read from the store

    def __iadd__(self, other: "Counters") -> Self:
        """Add the counters of a transaction."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))
        return self

    def readings(self, projection: str) -> list[Reading]:
        """Return the counters as metrics."""
        values = (
            (metrics.APPLIED, self.applied),
            (metrics.DUPLICATES, self.duplicates),
            (metrics.UNKNOWN, self.unknown),
            (metrics.UNHANDLED, self.unhandled),
            (metrics.PARKED, self.parked),
            (metrics.REPAIRED, self.repaired),
        )
        return [(instrument, value, (projection,)) for instrument, value in values]

    def __str__(self) -> str:
        """Format them for the log: `applied=3 duplicates=0 ...`."""
        return " ".join(f"{name}={value}" for name, value in asdict(self).items())
