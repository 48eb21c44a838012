"""Others' functions, types, casts and policies in the same database change no statement of eventkit, or are named."""

import re
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy.engine import make_url

from eventkit.errors import SchemaMismatch
from eventkit.storage.db.connection import connect
from eventkit.storage.db.sql_text import qualified
from tests.process import ROOT
from tests.surroundings.rig import execute, order
from tests.surroundings.roles import Installation
from tests.surroundings.workloads import WORKLOADS, World

# Each function of PostgreSQL that eventkit names is also here, with each type of arguments, and fails. PostgreSQL's own
# accept any type where these name one, so these fit better even where `pg_catalog` is searched first.
SHADOWS = """
do $do$
declare
  f record;
  kind text;
  arguments text;
begin
  for f in select proname, array(select format_type(a, null) from unnest(proargtypes::oid[]) with ordinality x(a, nth)
                                  order by nth) as types
             from pg_proc where pronamespace = 'pg_catalog'::regnamespace and proname = any('{names}') loop
    foreach kind in array '{{text,bigint,integer,smallint,uuid,jsonb,timestamptz,boolean}}'::text[] loop
      select string_agg(case when a ~ '^any.*array$' then kind || '[]' when a ~ '^"?any' then kind else a end, ', '
                        order by nth) into arguments from unnest(f.types) with ordinality x(a, nth);
      begin
        execute format('create function evil.%I(%s) returns text language plpgsql as $f$ begin raise %L; end $f$',
                       f.proname, arguments, 'evil.' || f.proname);
      exception when others then null;  -- it exists, or its arguments are PostgreSQL's internal ones
      end;
    end loop;
  end loop;
end $do$"""
TYPES = [f"create domain evil.{name} as bit(3)" for name in ("text", "uuid", "jsonb", "json", "timestamptz", "float8")]
TABLES = [f"create table evil.{name} ()" for name in ("pg_locks", "pg_database", "pg_class", "pg_attribute")]
# As databases have that were moved from PostgreSQL 8.2: with them some operators are ambiguous.
CASTS = [
    f"create cast ({name} as text) with inout as implicit"
    for name in ("smallint", "integer", "bigint", "oid", "timestamptz", "numeric", "uuid")
]


def shadows() -> str:
    """Return the statement that makes the functions; their names are all that eventkit's sources could call."""
    texts = (path.read_text() for path in (ROOT / "eventkit").rglob("*.py"))
    names = {name for text in texts for name in re.findall(r"\b([a-z_0-9]+)\(", text)}
    return SHADOWS.format(names="{" + ",".join(sorted(names)) + "}")


@pytest.mark.parametrize("role", WORKLOADS)
def test_functions_types_and_casts_of_others_are_not_used(
    role: str, installation: Installation, tmp_path: Path
) -> None:
    """Everything that eventkit is for is done on sessions whose search path finds others' objects first."""
    execute(installation.url, "create schema evil", shadows(), *TYPES, *TABLES, *CASTS)
    execute(installation.url, "grant usage on schema evil to public")
    with psycopg.connect(installation.url, autocommit=True) as admin:
        for member in installation.members.values():
            name = sql.Identifier(make_url(member).username or "")
            admin.execute(sql.SQL("alter role {} set search_path = evil, pg_catalog, public").format(name))

    WORKLOADS[role](World(installation, tmp_path))


def test_names_in_a_statement_are_qualified_once() -> None:
    """Arrays in parallel, columns, tables and names that have a schema stay as they are."""
    statements = {
        "select max(x.max), left(y, 2) from unnest(%(a)s::text[]) u(y) left join z on pg_sleep(1) is null": (
            "select pg_catalog.max(x.max), pg_catalog.left(y, 2) from pg_catalog.unnest(%(a)s::pg_catalog.text[]) u(y) "
            "left join z on pg_catalog.pg_sleep(1) is null"
        ),
        "select from unnest(%(a)s::int[], %(b)s::int[]) u(a, b)": None,
        "select from unnest((select %(a)s::int[])) u(a)": "select from pg_catalog.unnest((select %(a)s::int[])) u(a)",
        'insert into "eventkit".outbox (position) select coalesce(a, 0) from b': None,
        "select pg_catalog.now(), greatest(1, 2), extract(epoch from a)::float8": (
            "select pg_catalog.now(), greatest(1, 2), extract(epoch from a)::pg_catalog.float8"
        ),
    }
    for given, wanted in statements.items():
        assert qualified(given) == (wanted or given)
        assert qualified(qualified(given)) == qualified(given)
        assert qualified(given.encode()) == str(qualified(given)).encode()


def test_events_stay_append_only_under_an_operator_of_others(installation: Installation) -> None:
    """Who may delete cannot make the trigger believe that another role does."""
    order(installation.url, "order", 1)
    execute(
        installation.url,
        "create schema evil",
        "create function evil.yes(name, name) returns boolean language sql as 'select true'",
        "create operator evil.= (leftarg = name, rightarg = name, function = evil.yes)",
    )

    with psycopg.connect(installation.url) as session:
        session.execute("set search_path = evil, pg_catalog")
        with pytest.raises(psycopg.errors.RestrictViolation, match="recorded rows are never changed"):
            session.execute("delete from eventkit.events")


def test_row_level_security_on_a_table_is_refused_with_the_remedy(installation: Installation) -> None:
    """A hosting service enables it on every table: a relay would find an empty outbox, and say nothing."""
    url = installation.members["relay"]
    order(installation.url, "order", 1)
    execute(installation.url, "alter table eventkit.outbox enable row level security")

    with pytest.raises(SchemaMismatch, match=r"row-level security of outbox .* hides rows from role '.*relay") as said:
        connect(url, name="test")
    connect(installation.url, name="test").close()  # of its owner, whom it does not concern

    execute(installation.url, str(said.value).split("`")[1])
    connect(url, name="test").close()
