"""Numbers that are drawn twice, as after a restore or logical replication: an error with the statement to repair it."""

import psycopg
import pytest

from eventkit.config import Settings
from eventkit.errors import SchemaMismatch
from eventkit.projection.rebuild.rebuild import RebuildPlan, RebuildRun
from eventkit.storage.db.connection import connect
from eventkit.storage.db.identity_columns import COLUMNS
from eventkit.storage.schema.verify import differences
from tests.projection.shop import orders, projector, rows, store, totals
from tests.surroundings.rig import execute, found, projected

_LETTER = "parked_by, stream, version, event_id, type, cause, error, attempts"
_ITS_VALUES = "'p', 's-1', 1, gen_random_uuid(), 'T', 'failed', 'e', 1"
ROWS = {
    "events": "insert into eventkit.events (id, source, stream, version, type, schema_version, data, metadata) "
    "values (gen_random_uuid(), 's', 's-1', 1, 'T', 1, '{}', '{}')",
    "projections": "insert into eventkit.projections (name, declared_version) values ('p', 1)",
    "dead_letters": f"insert into eventkit.dead_letters ({_LETTER}) values ({_ITS_VALUES})",
    "dead_letter_actions": f"insert into eventkit.dead_letter_actions (actor, action, result, letter, parked_at, "
    f"{_LETTER}) values ('me', 'discard', 'done', 1, now(), {_ITS_VALUES})",
    "operator_actions": "insert into eventkit.operator_actions (actor, action, subject) values ('me', 'pause', 'p')",
}
BACK = "select setval(pg_get_serial_sequence('eventkit.{}', '{}'), 1, false)"


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_an_identity_that_is_behind_is_named_with_the_statement_that_repairs_it(
    url: str, table: str, column: str, caplog: pytest.LogCaptureFixture
) -> None:
    """By verify, and at each start; only a generation can be drawn again, which is done and warned of."""
    execute(url, ROWS[table], BACK.format(table, column))
    name = f"eventkit.{table}.{column}"
    (said,) = differences(url, "eventkit")

    assert f"the identity of {name} is at 0, behind the highest {column} 1: run `alter table" in said
    if table == "projections":
        connect(url, name="test").close()
        assert name in caplog.text
    else:
        with pytest.raises(SchemaMismatch, match=name):
            connect(url, name="test")

    execute(url, said.partition("`")[2].partition("`")[0])
    assert differences(url, "eventkit") == []


def test_tables_that_a_role_may_not_read_are_not_checked(url: str) -> None:
    """A relay's role sees no projections."""
    execute(
        url,
        ROWS["dead_letter_actions"],
        BACK.format("dead_letter_actions", "id"),
        "do $$ begin create role narrow login; exception when duplicate_object then null; end $$",
        "grant usage on schema eventkit to narrow",
        "grant select on eventkit.events, eventkit.eventkit_version to narrow",
    )

    with psycopg.connect(url) as session:
        user = session.info.user
    connect(url.replace(f"//{user}@", "//narrow@"), name="test").close()

    execute(url, "drop owned by narrow")


def test_a_generation_that_exists_is_drawn_again(url: str) -> None:
    """A rebuild and a new projection get one of their own, and read no other's checkpoints."""
    store(url, orders("order-1", 3))
    projected(url, None, totals())
    execute(url, "insert into eventkit.projections (name, declared_version) values ('second', 1)")
    execute(url, BACK.format("projections", "generation"))

    RebuildRun(totals(), Settings(database_url=url), RebuildPlan()).run()
    execute(url, BACK.format("projections", "generation"))
    with projector(url, totals("third")) as third:
        third.register()

    generations = [row[0] for row in found(url, "select generation from eventkit.projections")]
    assert len(set(generations)) == 3
    assert found(url, "select generation from eventkit.checkpoints") == found(
        url, "select generation from eventkit.projections where name = 'totals'"
    )
    assert rows(url) == [("ann", 3, 3)]


def test_a_generation_whose_checkpoints_are_there_is_not_drawn(url: str) -> None:
    """They may be those of a projection that was deleted while the identity was behind."""
    execute(url, "insert into eventkit.checkpoints (generation, stream, version) values (1, 'order-1', 5)")
    store(url, orders("order-1", 3))

    projected(url, None, totals())

    assert rows(url) == [("ann", 3, 3)]
