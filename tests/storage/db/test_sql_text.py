"""The schema and the parts of a statement are put in as they are given."""

import psycopg
import pytest

from eventkit.storage.db import as_part, in_schema, literal


def test_a_schema_is_quoted() -> None:
    """Also one with a quote or a percent sign, in a statement with parameters."""
    statement = in_schema("select from {s}.events where id = %(id)s", 'odd%"name')

    assert statement == b'select from "odd%%""name".events where id = %(id)s'


def test_a_part_may_have_the_schema_and_earlier_parts() -> None:
    """Braces of the statement itself are doubled, as in any format."""
    statement = in_schema(
        "select '{{}}' from ({rows}) x", "eventkit", most="limit 7", rows="select from {s}.events {most}"
    )

    assert statement == b"select '{}' from (select from \"eventkit\".events limit 7) x"


@pytest.mark.parametrize(
    "text",
    ["plain", "it's", "100 %", "%(id)s", "{s}", "{{}}", 'a"b', "{1,2}", "ä ☃", "a,count(1)", "it''s now()::text"],
)
def test_a_constant_means_its_text(database_url: str, text: str) -> None:
    """Whatever signs it has: PostgreSQL reads the same text."""
    with psycopg.connect(database_url) as connection:
        statement = in_schema("select {given}, %(other)s::text", "eventkit", given=literal(text))
        found = connection.execute(statement, {"other": "other"}).fetchone()

    assert found == (text, "other")


def test_a_name_with_odd_signs_is_found(database_url: str) -> None:
    """A service's table may have any name."""
    with psycopg.connect(database_url) as connection:
        connection.execute('create table "a%{b}" as select 1 as n')
        statement = in_schema("select n from {table} where n = %(n)s", "eventkit", table=as_part('"a%{b}"'))

        assert connection.execute(statement, {"n": 1}).fetchone() == (1,)
