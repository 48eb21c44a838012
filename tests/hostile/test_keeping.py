"""Keeping a letter cannot fail because of its content, and no error in keeping is the batch's."""

import random
import uuid
from typing import Any

import psycopg
import pytest

from eventkit.domain.message import Message
from eventkit.storage.db.wire_text import MAX_NAME_BYTES, file_name
from eventkit.storage.dead_letters import letters as letter_keeping
from eventkit.storage.dead_letters.letters import DeadLetters, Letter
from eventkit.storage.projections.inbox import name_of_message
from tests.hostile.kinds import WIDE
from tests.projection.shop import Noted, apply, checkpoints, letters, message, orders, projector, rows

ONE = uuid.UUID(int=1)
HEX = random.Random(2).randbytes(5_000).hex()  # the same in each process of a run: it is in the names of tests
MALFORMED = message("order-1", 1, Noted(), ce_streamversion="x")


def letter(**given: Any) -> Letter:  # noqa: ANN401 fields of a letter
    """Return a malformed message's letter, except for the given fields."""
    sent = Message("shop.order", given.pop("key", "k"), given.pop("value", b"x"), given.pop("headers", []))
    fields = {"version": 0, "event_id": ONE, "type": "", "cause": "malformed", "error": "e", "attempts": 1, **given}
    return Letter(**fields, message=sent)


LETTERS: dict[str, list[Letter]] = {
    "the same twice": [letter(), letter()],
    "NUL everywhere": [letter(key="\0", type="\0", error="\0", detail="\0", headers=[("\0", "\0")], value="\0")],
    "lone surrogates": [letter(key="\ud800", type="\ud800", error="\ud800", headers=[("\ud800", "\ud800")])],
    "a surrogate in the value": [letter(value="\ud800")],
    "bytes in headers": [letter(headers=[("x", b"\xff\xfe\x00")])],
    "a header twice, and one without value": [letter(headers=[("x", "1"), ("x", "2"), ("y", None)])],
    "a long type and error": [letter(type=HEX, error=HEX, detail=HEX)],
    "a megabyte of headers": [letter(headers=[(f"h{n}", HEX) for n in range(100)])],
}


@pytest.mark.parametrize("kind", LETTERS)
@pytest.mark.parametrize(
    "stream",
    ["order-1", "", "\0", "\ud800", HEX, WIDE * 3, "x" * 10_000],
    ids=["plain", "empty", "NUL", "surrogate", "incompressible", "wide", "long"],
)
def test_a_letter_is_kept_with_any_content(url: str, kind: str, stream: str) -> None:
    """Under its key, or a name of bounded bytes that is made of it."""
    with psycopg.connect(url) as connection:
        kept = DeadLetters("eventkit").keep(connection, "projection:totals:1", stream, LETTERS[kind])

    [(found,)] = rows(url, "select stream from eventkit.dead_letters")
    assert kept == 1
    assert len(found.encode()) <= MAX_NAME_BYTES
    assert found == stream or "sha256:" in found


def test_many_large_letters_are_written_a_few_at_a_time(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one order for all processes, whatever order they came in; written again they are not new."""
    written: list[list[int]] = []
    insert = letter_keeping._LetterWriter._insert

    def noted(self: Any, rows: Any, statement: str) -> int:  # noqa: ANN401 those of the method
        written.append([row.version for row in rows])
        return insert(self, rows, statement)

    monkeypatch.setattr(letter_keeping._LetterWriter, "_insert", noted)
    large = [letter(version=n, cause="behind", value=b"x" * 880_000) for n in range(30, 0, -1)]
    with psycopg.connect(url) as connection:
        kept = [DeadLetters("eventkit").keep(connection, "projection:totals:1", "order-1", large) for _ in range(2)]

    assert kept == [30, 0]
    assert written[: len(written) // 2] == [list(range(first, first + 5)) for first in range(1, 31, 5)]


def test_names_are_distinct() -> None:
    """Cut or changed names are distinguished by a digest."""
    texts = ["\0", "\ufffd", "\ud800", "?", HEX, HEX + "x", WIDE * 3, WIDE * 4, "x" * 1_000, "x" * 1_001, ""]

    names = [file_name(text) for text in texts]

    assert len(set(names)) == len(texts)
    assert all(len(name.encode()) <= MAX_NAME_BYTES for name in names)
    assert name_of_message(HEX, "shop").startswith("message:")


def test_letters_are_kept_where_the_identity_is_behind(url: str) -> None:
    """As when it was restored under a running projector: they take numbers above the table's, others are applied."""
    apply(url, [message("order-0", 1, Noted(), ce_streamversion=str(n)) for n in (0, "x", "y")])
    with projector(url) as running:
        with psycopg.connect(url) as connection:
            connection.execute("select setval(pg_get_serial_sequence('eventkit.dead_letters', 'id'), 1, false)")
        running.apply([MALFORMED, *orders("order-2", 2), *orders("order-3", 1, first=3)])

    assert checkpoints(url)["order-2"] == (2, False)
    assert len(letters(url)) == 5


def test_a_malformed_message_that_postgresql_refuses_is_passed_over(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, the others of its batch are kept, and the events beside it applied."""
    bad = MALFORMED.headers[1][1]
    with psycopg.connect(url) as connection:
        check = f"alter table eventkit.dead_letters add check (event->'headers'->>'ce_id' <> '{bad!s}')"
        connection.execute(check.encode())
    monkeypatch.setattr(letter_keeping, "_MAX_TRIES", 1)

    apply(url, [message("order-7", 1, Noted(), ce_streamversion="y"), MALFORMED, *orders("order-2", 2)])

    assert checkpoints(url) == {"order-2": (2, False)}
    assert [stream for stream, _, _ in letters(url)] == ["order-7"]
    assert "lost, because PostgreSQL refuses its letter (23514): key 'order-1'" in caplog.text
