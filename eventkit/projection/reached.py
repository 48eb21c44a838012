"""How far a source has been read with a batch: saved in the batch's transaction, where all of it has taken effect."""

from collections.abc import Sequence
from typing import NamedTuple

from eventkit.transports.base import Mark


class Reached(NamedTuple):
    """A position of the store, or places in the shards of topics."""

    position: int | None = None
    marks: Sequence[Mark] = ()
