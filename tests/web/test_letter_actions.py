"""Actions on dead letters: as many as the preview counted, recorded with who did it, and refused with a reason."""

from typing import Any

import psycopg
import pytest

from eventkit.web import ACTIONS, Access
from tests.web import shop
from tests.web.conftest import Shop, hidden, send


def rows(parked: Shop, statement: str, *params: object) -> list[Any]:
    """Return the rows of a statement."""
    with psycopg.connect(parked.url) as connection:
        return connection.execute(statement.encode(), params).fetchall()


def letters(parked: Shop, stream: str) -> list[int]:
    """Return the numbers of a stream's letters."""
    found = rows(parked, "select id from eventkit.dead_letters where stream = %s order by version", stream)
    return [number for (number,) in found]


def record(parked: Shop, stream: str) -> list[Any]:
    """Return who did what to a stream."""
    return rows(parked, "select actor, action from eventkit.dead_letter_actions where stream = %s order by id", stream)


def test_edited_data_is_applied_and_the_old_is_kept(parked: Shop) -> None:
    """The form shows the data; the new data is applied by the projector, and the record has who and the old data."""
    [poison, _] = letters(parked, "order-1")

    with parked.visitor() as visitor:
        form = visitor.get(f"/letters/{poison}/edit")
        status, text = send(visitor, f"/letters/{poison}/edit", data='{"customer": "mended", "total": 7}')
    parked.apply()

    assert "&#34;total&#34;: -1" in form.text
    assert status == 200
    assert f"Letter {poison} has new data" in text
    assert letters(parked, "order-1") == []
    assert rows(parked, "select orders, total from customer_totals where customer = 'mended'") == [(1, 7)]
    assert ("ann", "edit") in record(parked, "order-1")


def test_data_that_is_no_event_is_refused(parked: Shop) -> None:
    """No JSON, no object, and not the event's fields: the form says why, keeps the text, and nothing has changed."""
    [poison, _] = letters(parked, "order-2")

    with parked.visitor() as visitor:
        for data, reason in (
            ("{", "is no JSON"),
            ("[1]", "is no JSON object"),
            ('{"customer": "x", "total": "much"}', "makes no OrderPlaced"),
        ):
            status, text = send(visitor, f"/letters/{poison}/edit", data=data)

            assert status == 422
            assert reason in text

    assert record(parked, "order-2") == []


def test_editing_needs_the_right_to_see_the_data(parked: Shop) -> None:
    """A visitor for whom payloads are masked may not open the form, which shows them."""
    [poison, _] = letters(parked, "order-2")

    with parked.visitor(Access(who="eve", actions=ACTIONS, payloads="masked")) as visitor:
        answer = visitor.get(f"/letters/{poison}/edit")

    assert answer.status_code == 403
    assert "customer 2" not in answer.text


def test_showing_data_to_edit_it_is_logged(parked: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """As on every other screen: who, and which letter."""
    [poison, _] = letters(parked, "order-2")

    with caplog.at_level("INFO", "eventkit.web"), parked.visitor() as visitor:
        visitor.get(f"/letters/{poison}/edit")
        visitor.get(f"/letters/{poison}?data=full")
        visitor.get(f"/letters/{poison}")

    shown = [message for message in caplog.messages if "was shown" in message]
    assert shown == [f"ann was shown the data of letter {poison}"] * 2


def test_a_redrive_of_one_letter_takes_its_whole_stream(parked: Shop) -> None:
    """The preview counts both letters of the stream; the projector tries them again, and the record says who asked."""
    [poison, behind] = letters(parked, "order-3")

    with parked.visitor() as visitor:
        preview = visitor.get(f"/letters/redrive?letter={behind}")
        status, text = send(visitor, f"/letters/redrive?letter={poison}")
    parked.apply()

    assert "2 letters, all of stream order-3" in preview.text
    assert status == 200
    assert "ann has asked to redrive" in text
    assert ("ann", "redrive") in record(parked, "order-3")
    assert len(letters(parked, "order-3")) == 2


def test_a_discard_of_one_letter_lets_the_stream_go_on(parked: Shop) -> None:
    """The event is skipped, the one behind it is applied."""
    [poison, _] = letters(parked, "order-4")

    with parked.visitor() as visitor:
        status, _ = send(visitor, f"/letters/discard?letter={poison}")
    parked.apply()

    assert status == 200
    assert letters(parked, "order-4") == []
    assert ("ann", "discard") in record(parked, "order-4")


def test_all_matching_letters_are_those_of_the_preview(parked: Shop) -> None:
    """A letter that was parked between preview and confirmation stays."""
    late = shop.OrderPlaced("late", -8)

    with parked.visitor() as visitor:
        form = visitor.get("/letters/discard?type=OrderPlaced&stream=order-5")
        shop.place(parked.url, "order-8", late)
        parked.apply()
        send(visitor, "/letters/discard?type=OrderPlaced&stream=order-5")
        before = visitor.get("/letters/discard?category=order")
        shop.place(parked.url, "order-7", late)
        parked.apply()
        parked_later = letters(parked, "order-7")
        answer = visitor.post(
            "/letters/discard",
            data=hidden(before.text),
            headers={"Origin": "http://127.0.0.1"},
        )

    assert "1 letter" in form.text
    assert answer.status_code == 200
    assert letters(parked, "order-8") == []
    assert letters(parked, "order-7") == parked_later
    assert len(parked_later) == 1


def test_a_letter_that_is_gone_is_said_so(parked: Shop) -> None:
    """Every page of a letter answers 404 with a sentence."""
    with parked.visitor() as visitor:
        for path in ("/letters/999999", "/letters/999999/edit"):
            answer = visitor.get(path)

            assert answer.status_code == 404
            assert "it was redriven or discarded" in answer.text
