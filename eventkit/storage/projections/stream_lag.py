"""Finds the streams that a generation of a projection has not applied to their end: a projection's lag.

A rebuild applies these streams. They are read from the store, the checkpoints from the read models' database, page by
page: the two may be different databases.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import psycopg

from eventkit.storage.events import StreamLog, StreamPart
from eventkit.storage.projections.checkpoints import Checkpoints

_PAGE = 5_000  # streams


class StreamLag(NamedTuple):
    """A stream, the applied version (0: none), its version, and whether it is parked."""

    stream: str
    applied: int
    version: int
    parked: bool


def behind(
    log: StreamLog,
    checkpoints: Checkpoints,
    connection: psycopg.Connection[Any],
    generation: int,
    part: StreamPart = StreamPart(),  # noqa: B008 a tuple
) -> Iterator[StreamLag]:
    """Yield the streams of a part whose version is above their checkpoint, in order of name.

    Versions are read before checkpoints, so a checkpoint may be ahead of the version that was read.
    """
    after = ""
    while page := log.page(after, _PAGE, part):
        with connection.transaction():
            known = checkpoints.between(connection, generation, after, page[-1][0])
        after = page[-1][0]
        for stream, version in page:
            checkpoint = known.get(stream)
            if checkpoint is None:
                yield StreamLag(stream, 0, version, parked=False)
            elif checkpoint.version < version:
                yield StreamLag(stream, checkpoint.version, version, checkpoint.parked)
