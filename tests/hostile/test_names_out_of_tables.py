"""Text that other roles write into eventkit's tables is looked up as a name and never run, here by a superuser."""

import json
from collections.abc import Iterator

import psycopg
import pytest
from click.testing import CliRunner, Result

from eventkit.cli import main
from eventkit.errors import MaintenanceDenied
from eventkit.storage.retention.maintenance_role import check_maintenance

EVIL = "create table public.owned (x int)"
STATE = "select array_agg(relname::text order by 1) from pg_class where relnamespace = 'public'::regnamespace"
REGISTER = "insert into eventkit.projections (name, tables, declared_version) values ('board', %s, 1)"


@pytest.fixture
def url(database_url: str) -> Iterator[str]:
    """A database with tables that a row may name, and with some that it may not."""
    with psycopg.connect(database_url, autocommit=True) as session:
        session.execute("create table totals (x int primary key); create table precious (x int)")
        session.execute('create table "Odd ""Name""" (x int); create view seen as select * from precious')
        yield database_url


def run(url: str, *words: str) -> Result:
    """Run the command as the superuser."""
    return CliRunner().invoke(main, ["projection", *words], env={"EVENTKIT_DATABASE_URL": url})


def state(url: str) -> list[str]:
    """Return the objects of the schema `public`."""
    with psycopg.connect(url) as session:
        row = session.execute(STATE).fetchone()
        return list(row[0]) if row else []


@pytest.mark.parametrize(
    "text",
    [
        f"nothing; {EVIL}; --",
        f"totals; {EVIL}",
        f'"totals"; {EVIL}; --"',
        f'public.totals"; {EVIL}; --',
        "totals, public.precious",
        "totals cascade",
        "totals -- comment",
        "Totals",
        "a.b.c",
        "",
        "\x1b[2J",
        "seen",
        "totals_pkey",
        "pg_catalog.pg_class",
        "information_schema.sql_features",
        "eventkit.events",
        "eventkit.projections",
    ],
)
def test_a_text_in_place_of_a_table_deletes_nothing(url: str, text: str) -> None:
    """It is named, with the control characters escaped; the projection stays too."""
    before = state(url)
    with psycopg.connect(url) as session:
        session.execute(REGISTER, ([text],))

    done = run(url, "delete", "board", "--tables", "--yes")

    assert done.exit_code == 1
    assert "as a table of its own, which is no table of a read model: nothing was deleted" in done.stderr
    assert done.stderr.rstrip("\n").isprintable()
    assert state(url) == before
    assert "board" in run(url, "status", "board").output


def test_tables_with_odd_names_are_dropped_and_no_others(url: str) -> None:
    """Names are quoted as they were registered; one that is gone already is no error."""
    with psycopg.connect(url) as session:
        session.execute(REGISTER, (["totals", 'public."Odd ""Name"""', "public.gone"],))

    done = run(url, "delete", "board", "--tables", "--yes", "--json")

    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["dropped"]
    assert state(url) == ["precious", "seen"]


@pytest.mark.parametrize("shadow", ["public", 'x"; drop table totals; --', "eventkit", "eventkit_rebuild_8", ""])
def test_a_rebuilds_row_drops_no_other_schema(url: str, shadow: str) -> None:
    """A dead rebuild's schema is dropped with all that is in it, so only the one that eventkit made is."""
    with psycopg.connect(url) as session:
        session.execute(REGISTER, (["totals"],))
        session.execute(
            "insert into eventkit.rebuilds (name, generation, declared_version, shadow, definition, total)"
            " values ('board', 7, 1, %s, '', 0)",
            (shadow,),
        )
    before = state(url)

    done = run(url, "delete", "board", "--yes")

    assert done.exit_code == 1
    assert "which eventkit has not made: nothing was done" in done.stderr
    assert state(url) == before


def test_a_statement_to_be_pasted_quotes_the_roles_name(url: str) -> None:
    """An administrator runs the statement that a refusal prints: a role's name must not end it."""
    role = 'low"; alter role low superuser; --'
    with psycopg.connect(url, autocommit=True) as session:
        session.execute(psycopg.sql.SQL("create role {}").format(psycopg.sql.Identifier(role)))
        session.execute(psycopg.sql.SQL("grant usage on schema eventkit to {}").format(psycopg.sql.Identifier(role)))
        session.execute(psycopg.sql.SQL("set role {}").format(psycopg.sql.Identifier(role)))
        with pytest.raises(MaintenanceDenied) as refused:
            check_maintenance(session, "eventkit")
        session.execute("reset role")
        session.execute(psycopg.sql.SQL("drop owned by {0}").format(psycopg.sql.Identifier(role)))
        session.execute(psycopg.sql.SQL("drop role {0}").format(psycopg.sql.Identifier(role)))

    assert 'to "low""; alter role low superuser; --"' in str(refused.value)
