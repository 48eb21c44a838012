"""A database that was restored, cloned or promoted: who acts waits for the operator, and every read model has all."""

from collections.abc import Callable

import pytest

from eventkit.errors import InstallationMoved
from eventkit.messaging.timer_worker import TimerWorker
from eventkit.storage.db.connection import connect
from eventkit.storage.schema.installation import adopt, look
from eventkit.transports import open_transport
from eventkit.worker import Stop
from tests.projection.shop import rows
from tests.surroundings.rig import COUNTED, acting, category, execute, found, order, projected, relay, relayed, totals

# As a dump that was restored on another server, a copy on the same server, and both.
COPIES = {
    "another server": "update eventkit.installation set system_identifier = 1",
    "another database": "update eventkit.installation set database_oid = 1",
    "another server and database": "update eventkit.installation set system_identifier = 1, database_oid = 1",
}


def relays(url: str) -> None:
    """Run a relay."""
    relay(url, open_transport("local://copies")).run(Stop())


def fires(url: str) -> None:
    """Run timers."""
    TimerWorker(lambda name: connect(url, name=name, autocommit=True), schema="eventkit", owner="test").fire()


def handles(url: str) -> None:
    """Run handlers."""
    projected(url, None, acting("order"))


@pytest.mark.parametrize("copy", COPIES)
@pytest.mark.parametrize("act", [relays, fires, handles])
def test_on_a_copy_no_process_acts_before_it_is_adopted(url: str, act: Callable[[str], None], copy: str) -> None:
    """The error has both places and both ways to continue."""
    with connect(url, name="test", autocommit=True) as connection:
        here = look(connection, "eventkit").here
        execute(url, COPIES[copy])

        with pytest.raises(InstallationMoved, match=r"last known on .* adopt --moved.* adopt --clone") as refused:
            act(url)

    assert str(here) in str(refused.value)


@pytest.mark.parametrize("unknown", ["system_identifier", "database_oid", "timeline"])
def test_a_server_without_an_identity_stops_no_process(url: str, unknown: str) -> None:
    """A managed server hides it."""
    execute(url, f"update eventkit.installation set {unknown} = null")

    fires(url)


def test_another_timeline_stops_no_process(url: str) -> None:
    """Every failover changes it."""
    execute(url, "update eventkit.installation set timeline = timeline + 1")

    fires(url)


def test_the_first_process_that_acts_records_the_server(url: str) -> None:
    """A service's own alembic has made the tables, and asked nobody."""
    execute(url, "update eventkit.installation set system_identifier = null, database_oid = null, timeline = null")

    fires(url)

    assert found(url, "select database_oid = (select oid::bigint from pg_database where datname = current_database()),"
                      " system_identifier is not null, timeline is not null from eventkit.installation") == [
        (True, True, True)
    ]  # fmt: skip


def test_a_read_model_on_a_copy_draws_an_incarnation_by_itself(url: str, redis: object) -> None:
    """It shares no group with the original, and keeps the one that it has drawn."""
    broker = str(redis.url)  # type: ignore[attr-defined]
    name = category(broker)
    order(url, name, *range(5))
    relayed(url, broker)
    projected(url, broker, totals(name))
    drawn = "select incarnation from eventkit.projections"
    (original,) = found(url, drawn)
    execute(
        url, "update eventkit.projections set server = 'another'", "update eventkit.installation set database_oid = 1"
    )

    projected(url, broker, totals(name))
    (copy,) = found(url, drawn)
    projected(url, broker, totals(name))

    assert copy != original
    assert found(url, drawn) == [copy]
    assert rows(url, COUNTED) == [("ann", 5)]


def test_a_clone_gets_an_id_and_groups_of_its_own(url: str) -> None:
    """It is adopted, and acts; those that read models have drawn here already are abandoned with the old id."""
    execute(
        url,
        "update eventkit.installation set database_oid = 1",
        "insert into eventkit.projections (name, declared_version, server) values ('copied', 1, 'another')",
        "insert into eventkit.groups values ('copied.1.1', 'kafka', 'copied', '{}')",
    )
    with connect(url, name="test", autocommit=True) as connection:
        before = look(connection, "eventkit")
        after = adopt(connection, "eventkit", clone=True)

    assert before.has_moved
    assert (after.has_moved, after.id != before.id) == (False, True)
    assert found(url, "select name from eventkit.groups") == []
    fires(url)


def test_a_database_that_has_moved_keeps_its_id_and_groups(url: str) -> None:
    """Nothing reads again."""
    execute(
        url,
        "update eventkit.installation set database_oid = 1",
        "insert into eventkit.projections (name, declared_version, server) values ('moved', 1, 'another')",
    )
    kept = "select i.id, p.incarnation from eventkit.installation i, eventkit.projections p"
    before = found(url, kept)
    with connect(url, name="test", autocommit=True) as connection:
        adopt(connection, "eventkit", clone=False)

    assert found(url, kept) == before
    fires(url)
