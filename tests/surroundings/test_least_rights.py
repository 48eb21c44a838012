"""The grants of each role are the least: without any of them some of its work fails, and `doctor` names it."""

from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from eventkit.storage.schema.grants import name_of, wanted
from eventkit.storage.schema.roles import incomplete
from tests.surroundings.roles import Installation
from tests.surroundings.watching import called, explainable, refused, watching
from tests.surroundings.workloads import WORKLOADS, World

# The operator's work takes the maintenance role on. An auditor, the reader, may look at every table.
DONE_BY = {role: role for role in WORKLOADS if role != "reader"} | {"maintenance": "operator"}


@pytest.mark.parametrize("role", DONE_BY)
def test_each_grant_is_needed_and_named_where_it_is_missing(
    role: str, installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only statements that name the table fail; with its grants the role does all of its work."""
    with watching(monkeypatch) as seen:
        WORKLOADS[DONE_BY[role]](World(installation, tmp_path))
    name, member = name_of(role, installation.prefix), f"{installation.prefix}{role}_login"
    rights = [(table, right) for table, rights in wanted(role).items() for right in rights]
    with (
        psycopg.connect(installation.url, autocommit=True) as admin,
        psycopg.connect(installation.url, autocommit=True) as session,
    ):
        session.execute(sql.SQL("set role {}").format(sql.Identifier(name)))
        run = explainable(session, called(seen.by[name if role == "maintenance" else member]))
        problems = []
        for table, right in rights:
            place = sql.SQL(", ").join([sql.Identifier("eventkit", table)])
            who = sql.Identifier(name)
            admin.execute(sql.SQL("revoke {} on {} from {}").format(sql.SQL(right), place, who))
            failed = refused(session, run)
            if not failed or not all(table in statement for statement in failed):
                problems.append(f"{right} on {table}: {failed or 'nothing needs it'}")
            lacking = [f'grant {right} on "eventkit"."{table}" to "{name}"']
            assert incomplete(admin, "eventkit", installation.prefix) == lacking
            admin.execute(sql.SQL("grant {} on {} to {}").format(sql.SQL(right), place, who))
        assert not problems, "\n".join(problems)
