"""A consumer group belongs to one read model in one installation, beside any other users of the broker."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import redis as client

from eventkit.cli.doctor.groups import group_findings
from eventkit.config import Settings
from eventkit.projection.delete import delete
from eventkit.storage.db.connection import connect
from eventkit.transports import open_transport
from tests.projection.shop import rows
from tests.servers.redis import RedisServer
from tests.surroundings.rig import COUNTED, acting, category, execute, found, order, projected, relayed, totals

GROUPS = "select name, abandoned_at is not null from eventkit.groups order by name"


@pytest.fixture(params=["redis", "kafka", "rabbitmq"])
def broker(request: pytest.FixtureRequest) -> str:
    """Brokers that keep history, and one that does not."""
    return str(request.getfixturevalue(request.param).url)


def test_two_databases_on_one_broker_each_get_all(url: str, other_url: str, broker: str) -> None:
    """Staging and production, or two services with one library, run the same projection at once."""
    name = category(broker)
    order(url, name, *range(20))
    for store in (url, other_url):
        projected(store, broker, totals(name), store_url=url)  # their groups are there before anything is sent
    order(url, name, *range(20, 40))
    relayed(url, broker)

    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda store: projected(store, broker, totals(name), store_url=url), (url, other_url)))

    assert rows(url, COUNTED) == rows(other_url, COUNTED) == [("ann", 40)]


def test_a_read_model_that_was_deleted_begins_at_the_first_event(url: str, broker: str) -> None:
    """Its rows are all there again, and its old group is removed."""
    name = category(broker)
    projected(url, broker, totals(name))
    order(url, name, *range(10))
    relayed(url, broker)
    projected(url, broker, totals(name))
    with connect(url, name="test", autocommit=True) as connection:
        delete(connection, "eventkit", "totals", tables=False)
    execute(url, "truncate totals")
    ((old, abandoned),) = found(url, GROUPS)
    assert abandoned

    projected(url, broker, totals(name))

    assert rows(url, COUNTED) == [("ann", 10)]
    assert old not in [group for group, _ in found(url, GROUPS)]


def test_several_processes_at_once_draw_one_incarnation(url: str, redis: RedisServer) -> None:
    """They share one group."""
    name = category(redis.url)

    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda _: projected(url, redis.url, totals(name)), range(4)))

    assert len(found(url, GROUPS)) == 1


def test_a_group_is_named_by_projection_installation_and_incarnation(url: str, redis: RedisServer) -> None:
    """Handlers with effects have no incarnation in their name: they must not read again."""
    name = category(redis.url)
    projected(url, redis.url, totals(name))
    projected(url, redis.url, acting(name))
    ((installation, incarnation),) = found(
        url, "select i.id, p.incarnation from eventkit.installation i, eventkit.projections p where name = 'totals'"
    )

    assert [group for group, _ in found(url, GROUPS)] == [
        f"acting.{str(installation)[:8]}",
        f"totals.{str(installation)[:8]}.{str(incarnation)[:8]}",
    ]
    assert {group["name"].decode() for group in _groups(redis, name)} == {group for group, _ in found(url, GROUPS)}


def test_a_group_that_cannot_be_removed_is_kept_in_mind(url: str, redis: RedisServer) -> None:
    """While it has members the broker keeps it, and its row stays until a later start removes it."""
    name = category(redis.url)
    projected(url, redis.url, totals(name))
    ((group, _),) = found(url, GROUPS)
    members = f"eventkit:members:shop.{name}:{group}"
    with client.Redis.from_url(redis.url) as session:
        session.zadd(members, {"somebody": 9e15})
        with connect(url, name="test", autocommit=True) as connection:
            delete(connection, "eventkit", "totals", tables=False)
        projected(url, redis.url, acting(name))
        assert (group, True) in found(url, GROUPS)

        session.delete(members)
    projected(url, redis.url, acting(name))

    assert group not in [name for name, _ in found(url, GROUPS)]


def test_doctor_names_groups_that_nobody_needs(url: str, redis: RedisServer) -> None:
    """One that could not be removed yet, one of this installation's that is in no row, and those of others."""
    name = category(redis.url)
    order(url, name, 1)
    relayed(url, redis.url)
    projected(url, redis.url, totals(name))
    projected(url, redis.url, acting(name))
    (acts, _), (group, _) = found(url, GROUPS)
    execute(url, f"delete from eventkit.groups where name = '{acts}'")
    with client.Redis.from_url(redis.url) as session:
        session.zadd(f"eventkit:members:shop.{name}:{group}", {"somebody": 9e15})
        session.xgroup_create(f"eventkit:stream:shop.{name}:0", "totals.01234567.89abcdef")
    with connect(url, name="test", autocommit=True) as connection:
        delete(connection, "eventkit", "totals", tables=False)

    said = {
        each.setting: each.found
        for each in group_findings(Settings(database_url=url, transport_url=redis.url), open_transport(redis.url))
    }

    assert said == {
        f"group {group}": "of a projection that was deleted",
        f"group {acts}": "at the broker, in no row",
        "groups of others": "totals.01234567.89abcdef",
    }


def _groups(redis: RedisServer, category: str) -> list[dict[str, bytes]]:
    with client.Redis.from_url(redis.url) as session:
        return list(session.xinfo_groups(f"eventkit:stream:shop.{category}:0"))
