"""Arrays written by one join mean to PostgreSQL the same as the lists in Python."""

from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventkit.storage.db.arrays import plain_array, text_array
from tests.servers.postgres import PostgresServer

TEXTS = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
NUMBERS = st.lists(st.integers(-(2**63), 2**63 - 1))


@pytest.fixture(scope="module")
def server(postgres: PostgresServer) -> Iterator["psycopg.Connection[tuple[object, ...]]"]:
    """A connection for many questions."""
    with closing(psycopg.connect(postgres.url, autocommit=True)) as connection:
        yield connection


@given(texts=TEXTS)
def test_texts_come_back_as_they_are(server: "psycopg.Connection[tuple[object, ...]]", texts: list[str]) -> None:
    """Quotes, backslashes, braces, commas, NULL as a word, and empty texts: nothing is taken for syntax."""
    assert server.execute("select %s::text[]", [text_array(texts)]).fetchone() == (texts,)


@given(numbers=NUMBERS)
def test_numbers_come_back_as_they_are(server: "psycopg.Connection[tuple[object, ...]]", numbers: list[int]) -> None:
    """Numbers of any size."""
    assert server.execute("select %s::bigint[]", [plain_array(numbers)]).fetchone() == (numbers,)
