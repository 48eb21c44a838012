"""Read your own write: wait until a projection has applied the events of an append.

It covers only the streams of the append: others may be behind. A parked stream, another declared version or an
unregistered projection raises an error at once, without waiting for the timeout.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence

from eventkit.errors import NotApplied, ProjectionError, StreamParked, UnsupportedConnection, VersionMismatch
from eventkit.projection.define import Projection
from eventkit.storage.db import Asynchronous, Executor, Synchronous
from eventkit.storage.events import Appended
from eventkit.storage.projections import Applied, applied_steps
from eventkit.storage.tables import DEFAULT_SCHEMA

_FIRST_PAUSE, _MAX_PAUSE = 0.002, 0.05  # seconds between two queries
_EXECUTOR = Executor("wait_for", writes=False, bind_arguments=None)


def wait_for(
    connection: Synchronous,
    projection: Projection,
    appended: Appended | Sequence[Appended],
    *,
    timeout: float = 5.0,
    schema: str = DEFAULT_SCHEMA,
) -> None:
    """Wait until the projection has applied the appended events; raise NotApplied after `timeout` seconds.

    `connection` is to the read models' database, in READ COMMITTED. Commit the append before. Raise StreamParked,
    VersionMismatch, ProjectionError or UnsupportedConnection at once if waiting is useless.
    """
    places = _places(projection, appended)
    executor = _EXECUTOR._replace(schema=schema)
    for pause in _pauses(timeout):
        missing = _missing(projection, executor.run(connection, applied_steps(schema, projection.name, places)), places)
        if not missing:
            return
        _raise_at_end(projection, missing, pause, timeout)
        time.sleep(pause)


async def wait_for_async(
    connection: Asynchronous,
    projection: Projection,
    appended: Appended | Sequence[Appended],
    *,
    timeout: float = 5.0,  # noqa: ASYNC109 the same as that of `wait_for`
    schema: str = DEFAULT_SCHEMA,
) -> None:
    """Wait like `wait_for`, on an asynchronous session or connection."""
    places = _places(projection, appended)
    executor = _EXECUTOR._replace(schema=schema)
    for pause in _pauses(timeout):
        found = await executor.run_async(connection, applied_steps(schema, projection.name, places))
        missing = _missing(projection, found, places)
        if not missing:
            return
        _raise_at_end(projection, missing, pause, timeout)
        await asyncio.sleep(pause)


def _places(projection: Projection, appended: Appended | Sequence[Appended]) -> dict[str, int]:
    given = [appended] if isinstance(appended, Appended) else appended
    if unread := [str(item.stream) for item in given if not projection.reads(str(item.stream))]:
        raise ProjectionError(
            f"projection {projection.name!r} reads the categories {', '.join(projection.categories)}: it will never "
            f"apply an event of {unread[0]!r}"
        )
    return {str(item.stream): item.version for item in given}


def _pauses(timeout: float) -> Iterator[float]:
    """Yield the seconds to wait before the next query; 0 after the last one."""
    deadline, pause = time.monotonic() + timeout, _FIRST_PAUSE
    while (left := deadline - time.monotonic()) > 0:
        yield min(pause, left)
        pause = min(pause * 2, _MAX_PAUSE)
    yield 0.0


def _missing(projection: Projection, found: Applied, places: dict[str, int]) -> dict[str, int]:
    """Return the streams that are still behind, each with its version; raise an error if waiting is useless."""
    if found.isolation != "read committed":
        raise UnsupportedConnection(
            f"wait_for needs READ COMMITTED, this transaction is {found.isolation.upper()}: its snapshot would never "
            "show new checkpoints; wait on a connection of its own, or after the commit"
        )
    if found.declared_version is None:
        raise ProjectionError(f"projection {projection.name!r} is not registered in this database: start its projector")
    if found.declared_version != projection.version:
        raise VersionMismatch(
            f"projection {projection.name!r} is declared with version {projection.version}, live is version "
            f"{found.declared_version}: the appended events show in that one"
        )
    missing = {stream: found.versions.get(stream, 0) for stream in places if _is_behind(found, places, stream)}
    if parked := [stream for stream in missing if stream in found.parked]:
        raise StreamParked(
            f"stream {parked[0]!r} is parked in projection {projection.name!r} after version {missing[parked[0]]}, so "
            f"version {places[parked[0]]} waits behind a dead letter: look at `eventkit projection status`"
        )
    return missing


def _is_behind(found: Applied, places: dict[str, int], stream: str) -> bool:
    return found.versions.get(stream, 0) < places[stream]


def _raise_at_end(projection: Projection, missing: dict[str, int], pause: float, timeout: float) -> None:
    if pause == 0:
        stream, version = next(iter(missing.items()))
        raise NotApplied(
            f"projection {projection.name!r} had applied {stream!r} up to version {version} after {timeout:g} s, not "
            "the appended events: is the append committed, and does its projector run?"
        )
