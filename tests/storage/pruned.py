"""A store with a relay and projectors in miniature, and the role that may prune."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import psycopg

from eventkit.storage.retention.prune import PruneRun, Which
from tests.storage.shop import Placed, order, store

APPLY = """insert into eventkit.checkpoints (generation, stream, version)
select p.generation, s.stream, least(s.version, %(to)s) from eventkit.projections p, eventkit.streams s
 where p.name = %(name)s and s.stream = any(%(streams)s)
on conflict (generation, stream) do update set version = greatest(checkpoints.version, excluded.version)"""


@contextmanager
def maintenance_role(url: str) -> Iterator[None]:
    """Make the role, as an administrator does; roles belong to the whole server, so it goes again."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create role eventkit_maintenance nologin")
        connection.execute('grant usage on schema "eventkit" to eventkit_maintenance')
        connection.execute('grant select, delete on "eventkit".events to eventkit_maintenance')
        yield
        connection.execute("drop owned by eventkit_maintenance")
        connection.execute("drop role eventkit_maintenance")


def append(url: str, stream: str, count: int) -> None:
    """Append events."""
    with psycopg.connect(url) as connection:
        store.append(connection, order(stream), *[Placed(n) for n in range(count)])


def send(url: str, *streams: str, to: int = 1_000) -> None:
    """Settle the unsent events of these streams, up to a version."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "delete from eventkit.outbox o using eventkit.events e"
            " where e.position = o.position and e.stream = any(%s) and e.version <= %s",
            ([order(stream) for stream in streams], to),
        )


def register(url: str, *names: str) -> None:
    """Register projections."""
    with psycopg.connect(url) as connection:
        for name in names:
            connection.execute(
                "insert into eventkit.projections (name, tables, declared_version) values (%s, '{}', 1)", (name,)
            )


def project(url: str, name: str, *streams: str, to: int = 1_000) -> None:
    """Advance a projection's checkpoints to a version, at most."""
    with psycopg.connect(url) as connection:
        connection.execute(APPLY, {"name": name, "streams": [order(stream) for stream in streams], "to": to})


def prune(url: str, *, older: timedelta = timedelta(), batch: int = 1_000, ignored: Sequence[str] = ()) -> int:
    """Prune; return how many events went."""
    which = Which(before=datetime.now(UTC) - older, ignored=ignored)
    with psycopg.connect(url, autocommit=True) as connection:
        return sum(PruneRun(connection, "eventkit", which, actor="ann").batches(batch))


def there(url: str) -> dict[str, list[int]]:
    """Return the versions that are in the store."""
    with psycopg.connect(url) as connection:
        return dict(
            connection.execute(
                "select stream, array_agg(version order by version) from eventkit.events group by 1"
            ).fetchall()
        )
