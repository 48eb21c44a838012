"""The position or offsets up to which a source was read, saved in a batch's transaction once all of it is applied."""

from collections.abc import Sequence
from typing import NamedTuple

from eventkit.transports.base import Mark


class Reached(NamedTuple):
    """A position in the store, or offsets in the shards of topics."""

    position: int | None = None
    marks: Sequence[Mark] = ()
