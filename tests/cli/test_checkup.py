"""`eventkit doctor` compares the expected state of a database with its real one, and needs no name as an argument."""

import json
from dataclasses import dataclass

import psycopg
import pytest
from click.testing import CliRunner, Result

from eventkit import Catalog, EventStore
from eventkit.cli import main
from tests.projection.shop import CREATE, Ordered, apply, message, orders
from tests.servers.redis import RedisServer


@dataclass(frozen=True)
class Placed:
    """Something was ordered."""

    item: str = "tea"


def run(url: str, *arguments: str, transport: str | None = None) -> Result:
    """Run the doctor."""
    urls = {"EVENTKIT_DATABASE_URL": url, "EVENTKIT_TRANSPORT_URL": transport, "COLUMNS": "80"}
    return CliRunner().invoke(main, ["doctor", *arguments], env=urls)


def findings(url: str, **how: str) -> dict[str, dict[str, object]]:
    """Return its findings, by setting."""
    found = json.loads(run(url, "--json", **how).stdout)["findings"]
    return {each["setting"]: each for each in found}


def append(url: str, catalog: str = "shop") -> None:
    """Append an event that waits."""
    events = Catalog(catalog)
    events.event(Placed)
    with psycopg.connect(url) as connection:
        EventStore(events).append(connection, "order-1", Placed())


def waits_for_long(url: str) -> None:
    """An event of yesterday is unsent, and no relay runs."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "with e as (insert into eventkit.events (id, source, stream, version, type, schema_version, data, metadata,"
            " recorded_at) values (gen_random_uuid(), 'shop', 'order-1', 1, 'Placed', 1, '{}', '{}',"
            " now() - interval '1 day') returning position)"
            " insert into eventkit.outbox select position, 'shop.order', 0, 2 from e"
        )


def parked(url: str) -> None:
    """A projector has parked a stream."""
    with psycopg.connect(url) as connection:
        connection.execute(CREATE)
    apply(url, [message("order-1", 1, Ordered("ann", -1))])


def not_run(url: str) -> None:
    """A read model is behind, and nobody runs it."""
    with psycopg.connect(url) as connection:
        connection.execute(CREATE)
    apply(url, orders("order-1", 1))
    with psycopg.connect(url) as connection:
        connection.execute("insert into eventkit.streams (stream, version) values ('order-1', 9)")
        connection.execute(
            "insert into eventkit.events (id, source, stream, version, type, schema_version, data, metadata,"
            " recorded_at) values (gen_random_uuid(), 'shop', 'order-1', 2, 'Noted', 1, '{}', '{}',"
            " now() - interval '1 h')"
        )


def required_column(url: str) -> None:
    """A column that no insert of eventkit's gives a value."""
    with psycopg.connect(url) as connection:
        connection.execute("alter table eventkit.events add column tenant text not null")


FAULTS = {
    "outbox": waits_for_long,
    "relay": waits_for_long,
    "dead letters": parked,
    "projection totals": not_run,
    "tables": required_column,
}


@pytest.mark.parametrize("setting", FAULTS)
def test_a_fault_is_named_without_any_argument(database_url: str, setting: str) -> None:
    """Exit code 1, the finding, and the remedy."""
    FAULTS[setting](database_url)

    done = run(database_url)

    assert done.exit_code == 1
    assert f"no  {setting}: " in done.output
    finding = findings(database_url)[setting]
    assert (finding["safe"], bool(finding["reason"])) == (False, True)


OWN = (
    "create index mine on eventkit.events (recorded_at)",
    "alter table eventkit.events add column note text",
    "alter table eventkit.outbox set (fillfactor = 80)",
    (
        "create function mine() returns trigger language plpgsql as 'begin return null; end';"
        " create trigger mine after insert on eventkit.outbox for each row execute function mine()"
    ),
)


@pytest.mark.parametrize("change", OWN)
def test_an_operators_own_object_is_reported_and_no_fault(database_url: str, change: str) -> None:
    """An index, a nullable column, a fillfactor, a trigger."""
    with psycopg.connect(database_url) as connection:
        connection.execute(change)

    done = run(database_url)

    assert (done.exit_code, "--  tables: " in done.output) == (0, True), done.output


def test_a_publication_of_eventkits_tables_is_reported(database_url: str) -> None:
    """Debezium makes one of all tables by default: no fault, it may be intended."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("create publication everything for all tables")

    finding = findings(database_url)["publication everything"]

    assert (finding["found"], finding["safe"]) == ("for all tables", True)


def test_two_catalogs_in_one_category_are_reported(database_url: str) -> None:
    """Their events go to two topics."""
    append(database_url)
    append(database_url, "till")

    assert findings(database_url)["category order"]["found"] == "shop.order, till.order"


def test_a_topic_that_events_wait_for_is_named(database_url: str, redis: RedisServer) -> None:
    """It was not named on the line: the store knows where its events go."""
    append(database_url, "nowhere")

    done = run(database_url, transport=redis.url)

    assert done.exit_code == 1
    assert "no  nowhere.order: " in done.output


def test_a_role_named_like_the_schema_is_a_fault(database_url: str) -> None:
    """Its default schema would be eventkit's."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("create role eventkit")
        try:
            finding = findings(database_url)["schema name"]
        finally:
            connection.execute("drop role eventkit")

    assert (finding["safe"], finding["found"]) == (False, "a role is named eventkit")


def test_it_fits_a_terminal(database_url: str) -> None:
    """Eighty columns, for any finding."""
    waits_for_long(database_url)

    assert max(map(len, run(database_url).output.splitlines())) <= 80
