"""Commands and starts where there is very much of everything: none reads it whole, and each count states its limit."""

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result

from eventkit.cli import main
from eventkit.projection.apply import redrive as redrive_module
from eventkit.storage.dead_letters import query
from eventkit.storage.dead_letters.letters import DeadLetters
from tests.projection.shop import CREATE, projector, rows, totals
from tests.servers.postgres import PostgresServer

STREAMS, LETTERS = 60_000, 60_000
FILL = f"""
insert into eventkit.projections (name, tables, declared_version, catalog, kind)
  values ('totals', '{{public.totals}}', 1, 'shop', 'table projection');
insert into eventkit.streams (stream, version) select 'order-' || n, 1 from generate_series(1, {STREAMS}) n;
insert into eventkit.events (id, source, stream, version, type, schema_version, data, metadata, recorded_at)
  select gen_random_uuid(), 'shop', stream, 1, 'Ordered', 1, '{{}}', '{{}}', now() - interval '60 days'
    from eventkit.streams order by stream;
insert into eventkit.checkpoints (generation, stream, version, parked)
  select p.generation, e.stream, 1, e.position <= 30000 from eventkit.events e, eventkit.projections p;
insert into eventkit.dead_letters (parked_by, stream, version, event_id, type, cause, error, attempts, event, data)
  select 'projection:totals:' || p.generation, 'order-' || (1 + n / 10), 2 + n % 10, gen_random_uuid(), 'Ordered',
         case n % 10 when 0 then case when n < 1000 then 'gap' else 'failed' end else 'behind' end, 'ValueError', 3,
         '{{"topic": "shop.order", "key": "k", "headers": {{}}}}', '{{"customer": "ann", "amount": 1}}'
    from generate_series(0, {LETTERS} - 1) n, eventkit.projections p;
create role eventkit_maintenance nologin;
grant usage on schema eventkit to eventkit_maintenance;
grant select, delete on eventkit.events to eventkit_maintenance
"""


@pytest.fixture(scope="module")
def filled(postgres: PostgresServer) -> Iterator[str]:
    """Sixty thousand streams with an event each, half of them parked, and as many dead letters."""
    url = postgres.fresh()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(CREATE)
        connection.execute(FILL)
        connection.execute("vacuum analyze")
    yield url
    postgres.drop(url)
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("drop role eventkit_maintenance")


@pytest.fixture
def url(postgres: PostgresServer, filled: str) -> Iterator[str]:
    """A copy of it for the test."""
    copy = postgres.copy(filled)
    yield copy
    postgres.drop(copy)


def run(url: str, *arguments: str) -> Result:
    """Run a command."""
    return CliRunner().invoke(main, arguments, env={"EVENTKIT_DATABASE_URL": url})


def behind(url: str, count: int) -> None:
    """Record newer events that nobody has applied."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "insert into eventkit.events (id, source, stream, version, type, schema_version, data, metadata)"
            " select gen_random_uuid(), 'shop', 'order-' || n, 2, 'Ordered', 1, '{}', '{}'"
            " from generate_series(59001, 59000 + %s) n",
            (count,),
        )


def test_a_status_counts_so_far_and_compares_the_newest_events(url: str) -> None:
    """About how many streams, at least how many parked; the lag is found from the newest event backwards."""
    behind(url, 700)

    (found,) = json.loads(run(url, "projection", "status", "totals", "--json").stdout)
    shown = run(url, "projection", "status", "totals").stdout

    assert 50_000 < found["streams"] < 70_000
    assert (found["parked"], sum(found["letters"].values()), found["exact"]) == (20_001, 20_001, False)
    assert found["lag"] | {"seconds": 0} == {"events": 700, "streams": 700, "seconds": 0, "exact": False, "more": False}
    assert "20,000+ of them parked" in shown
    assert "700 events of 700 streams" in shown
    assert "(--exact reads all streams)" in shown


def test_an_exact_status_reads_everything(url: str) -> None:
    """For who has the time."""
    behind(url, 700)

    (found,) = json.loads(run(url, "projection", "status", "totals", "--exact", "--json").stdout)

    assert (found["streams"], found["parked"], found["exact"]) == (STREAMS, 30_000, True)
    assert (sum(found["letters"].values()), found["letters"]["gap"]) == (LETTERS, 100)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("dead-letters", "list", "--limit", "10"), "... and at least 9,990 more (--limit)"),
        (("dead-letters", "redrive", "--all", "--dry-run"), "would redrive at least 10,000 letters of at least 1,000"),
        (("dead-letters", "discard", "--all", "--dry-run"), "would discard at least 10,000 letters of at least 1,000"),
        (("events", "prune", "--sent", "--older-than", "1d", "--dry-run"), "would prune at least 50,000 events"),
    ],
)
def test_a_dry_run_counts_up_to_a_limit(url: str, command: tuple[str, ...], said: str) -> None:
    """The output says that there are more."""
    assert said in run(url, *command).output


def test_a_redrive_asks_for_all_of_them_page_by_page(url: str) -> None:
    """Pages hold 10,000 letters; a stream on two of them is requested once."""
    run(url, "dead-letters", "redrive", "--all", "--yes", "--wait", "0", "--json")

    assert rows(url, "select count(*) from eventkit.redrives") == [(6_000,)]


def test_a_discard_goes_through_all_pages(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that was confirmed is left."""
    monkeypatch.setattr(query, "PAGE", 30)

    done = json.loads(run(url, "dead-letters", "discard", "--cause", "gap", "--yes", "--json").stdout)

    assert done["discarded"] + done["refused"] == 100


def test_a_pruning_goes_beyond_the_count(url: str) -> None:
    """The count reads the oldest events, the pruning takes all that are old enough."""
    shown = run(url, "events", "prune", "--sent", "--older-than", "1d", "--yes")

    assert shown.output.splitlines()[-1] == "60,000 events pruned"


def test_the_streams_that_wait_for_missing_events_are_found_by_an_index(url: str) -> None:
    """A projector asks at its start and each thirty seconds; the letters behind them are not read."""
    ((by,),) = rows(url, "select 'projection:totals:' || generation from eventkit.projections")
    letters = DeadLetters("eventkit")
    with psycopg.connect(url, autocommit=True) as connection:
        before = letters_read(connection)
        first = letters.held(connection, by, limit=30)
        others = letters.held(connection, by, after=first[-1])
        read = letters_read(connection) - before

    assert (len(first), len(others)) == (30, 70)
    assert first == sorted(first)
    assert read < LETTERS / 10


def letters_read(connection: psycopg.Connection[Any]) -> int:
    """Return how many rows and entries of indexes of the dead letters were read, by any plan."""
    connection.execute("select pg_stat_force_next_flush()")
    row = connection.execute(
        "select seq_tup_read + coalesce(idx_tup_fetch, 0) + (select sum(idx_tup_read) from pg_stat_user_indexes i"
        " where i.relid = t.relid) from pg_stat_user_tables t where relname = 'dead_letters'"
    ).fetchone()
    return int(row[0]) if row else 0


def test_a_read_of_waiting_streams_continues_where_the_last_one_ended(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes a second at most, so that very many do not stop the projector."""
    with projector(url, totals()) as running:
        monkeypatch.setattr(redrive_module, "REDRIVE_TIME", 0.0)
        upto = []
        for _ in range(3):
            running.redrives.retry_held()
            upto.append(running.redrives._last_held)

    assert len(set(upto)) == 3
