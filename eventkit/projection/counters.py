"""What a projector has done since it started: counted when it is committed, never before."""

from dataclasses import asdict, dataclass, fields
from typing import Self


@dataclass(slots=True)
class Counters:
    """Events, by what became of them. `unhandled` ones are also `applied`: their stream has advanced past them."""

    applied: int = 0
    duplicates: int = 0
    unknown: int = 0  # at or below a checkpoint, and not known to be duplicates: pruned, or not of the store
    unhandled: int = 0
    parked: int = 0  # kept as dead letters, those behind a parked event included
    repaired: int = 0  # missing in the transport, taken from the store

    def __iadd__(self, other: "Counters") -> Self:
        """Add what a transaction has done."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))
        return self

    def __str__(self) -> str:
        """Write them the way the log shows them: `applied=3 duplicates=0 ...`."""
        return " ".join(f"{name}={value}" for name, value in asdict(self).items())
