"""Operators' actions on a projection's letters: beside projectors, beside each other, and killed on the way."""

import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from eventkit.errors import DeadLetterError
from eventkit.projection.retry_policy import Backoff
from eventkit.storage.dead_letters import redrive
from eventkit.storage.dead_letters.actions import LetterActions
from eventkit.storage.dead_letters.query import LetterFilter, LetterQuery
from eventkit.storage.dead_letters.redrive import RedriveRequests, Redrives
from eventkit.worker import Stop
from tests.projection.read_models import mended
from tests.projection.shop import (  # fmt: skip
    Given,
    Ordered,
    apply,
    checkpoints,
    letters,
    message,
    orders,
    projector,
    rows,
)
from tests.waiting import wait_until

ROOT = Path(__file__).parents[3]
BAD = Ordered("eve", -1)
LOG = [*orders("order-1", 2), message("order-1", 3, BAD), *orders("order-1", 2, first=4)]
WAITING = "select count(*) from pg_locks where not granted and locktype in ('transactionid', 'tuple')"
ACTIONS = "select actor, action, version, result from eventkit.dead_letter_actions order by id"


class Desk:
    """An operator's place."""

    def __init__(self, url: str, actor: str = "ann") -> None:
        self.connection = psycopg.connect(url, autocommit=True)
        self.list = LetterQuery(self.connection, "eventkit")
        self.act = LetterActions(self.connection, "eventkit", actor=actor)
        self.requests = RedriveRequests(self.connection, "eventkit", actor=actor)

    def redrive(self) -> None:
        """Ask for everything."""
        self.requests.redrive(self.list.choose(LetterFilter()))

    def discard(self, **wanted: str) -> list[tuple[int, bool]]:
        """Discard; return version and whether it was done."""
        which = msgspec.convert(wanted, LetterFilter)
        found = {letter.id: letter.version for letter in self.list.list(which)}
        return [
            (found[outcome.letter], outcome.done)
            for (parked_by, stream), ids in self.list.choose(which).streams.items()
            for outcome in self.act.discard(parked_by, stream, ids)
        ]


@pytest.fixture
def desk(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """A place at a database where order-1 is parked at version 3, two events behind it."""
    monkeypatch.setattr(Backoff, "pause", lambda _, attempt: 0.001 * attempt)
    apply(url, LOG)
    desk = Desk(url)
    yield desk
    desk.connection.close()


def test_a_running_projector_starts_a_requested_redrive(url: str, desk: Desk) -> None:
    """With the code that it has, in order, while it works; and the record says who asked."""
    stop = Stop()
    with projector(url, mended) as running:
        working = threading.Thread(target=running.run, args=(Given(),))
        running.stop = running._isolation._stop = stop
        working.start()
        desk.redrive()
        wait_until(lambda: not letters(url), what="no letters")
        stop.set()
        working.join()

    assert rows(url) == [("ann", 4, 4), ("eve", 1, 0)]
    assert checkpoints(url) == {"order-1": (5, False)}
    assert rows(url, ACTIONS) == [("ann", "redrive", version, "applied") for version in (3, 4, 5)]
    assert rows(url, "select * from eventkit.redrives") == []


def test_a_redrive_without_a_projector_waits_for_one(url: str, desk: Desk) -> None:
    """The request is in the database: the next process that runs the projection does it."""
    desk.redrive()
    assert len(letters(url)) == 3

    with projector(url, mended) as running:
        running.redrives.serve()

    assert letters(url) == []


def test_a_redrive_that_fails_again_ends_and_is_recorded(url: str, desk: Desk) -> None:
    """There is one attempt: the letter stays, the request does not."""
    desk.redrive()

    with projector(url) as running:
        assert running.redrives.serve() == 1
        assert running.redrives.serve() == 0

    assert rows(url, ACTIONS) == [("ann", "redrive", 3, "failed again")]
    assert rows(url, "select attempts from eventkit.dead_letters where version = 3") == [(6,)]


def test_a_redrive_while_a_projector_parks_the_same_stream(url: str, desk: Desk) -> None:
    """Both take the checkpoint's lock: later events wait behind, or follow; nothing is lost or twice."""
    desk.redrive()
    with projector(url, mended) as redriving, projector(url) as delivering:
        late = threading.Thread(target=delivering.apply, args=(orders("order-1", 3, first=4),))
        fold = redriving._applier.fold

        def meanwhile(*arguments: Any) -> None:  # noqa: ANN401 as it is called
            late.start()
            wait_until(lambda: rows(url, WAITING) == [(1,)], what="the other projector at the checkpoint's lock")
            fold(*arguments)

        redriving._applier.fold = meanwhile  # type: ignore[method-assign, assignment]
        redriving.redrives.serve()
        late.join()

    assert rows(url) == [("ann", 5, 5), ("eve", 1, 0)]
    assert (letters(url), checkpoints(url)) == ([], {"order-1": (6, False)})


def test_a_discard_steps_past_the_event_and_later_ones_are_applied(url: str, desk: Desk) -> None:
    """The event takes no effect, also when it is delivered again; the rest does."""
    assert desk.discard(cause="failed") == [(3, True)]

    with projector(url) as running:
        running.redrives.serve()
        running.apply(LOG)

    assert rows(url) == [("ann", 4, 4)]
    assert (letters(url), checkpoints(url)) == ([], {"order-1": (5, False)})
    assert rows(url, ACTIONS)[0] == ("ann", "discard", 3, "the checkpoint went from version 2 to 3")


def test_a_message_behind_another_letter_is_not_discarded(url: str, desk: Desk) -> None:
    """It would leave a hole."""
    assert desk.discard(cause="behind") == [(4, False), (5, False)]

    assert len(letters(url)) == 3
    assert checkpoints(url) == {"order-1": (2, True)}


def test_a_whole_stream_is_discarded_in_order(url: str, desk: Desk) -> None:
    """The last one unparks the stream, and no stream is parked for nothing."""
    assert desk.discard() == [(3, True), (4, True), (5, True)]

    assert checkpoints(url) == {"order-1": (5, False)}
    apply(url, orders("order-1", 1, first=6))
    assert checkpoints(url) == {"order-1": (6, False)}


def test_giving_up_a_gap_steps_over_the_missing_events(url: str, desk: Desk) -> None:
    """A gap that neither transport nor store can fill is given up by an operator alone, and the record says so."""
    apply(url, orders("order-2", 2), orders("order-2", 1, first=5))

    assert desk.discard(stream="order-2") == [(5, True)]

    assert checkpoints(url)["order-2"] == (5, False)
    assert rows(url, ACTIONS) == [
        ("ann", "discard", 5, "the checkpoint went from version 2 to 5, over versions that were missing")
    ]


def test_a_fork_is_removed_and_the_stream_continues(url: str, desk: Desk) -> None:
    """Its place is taken by the applied event."""
    apply(url, orders("order-2", 2))
    other = message("order-2", 2, Ordered("bob", 1), event_id=uuid.uuid4())
    apply(url, [other], orders("order-2", 1, first=3))
    assert checkpoints(url)["order-2"] == (2, True)

    assert desk.discard(cause="fork") == [(2, True)]
    with projector(url) as running:
        running.redrives.serve()

    assert checkpoints(url)["order-2"] == (3, False)


def test_a_letter_that_was_applied_meanwhile_is_not_discarded(url: str, desk: Desk) -> None:
    """A letter seen by an operator a minute ago may be gone: the checkpoint is compared under its lock."""
    choice = desk.list.choose(LetterFilter())
    with projector(url, mended) as running:
        running.redrives.retry("order-1")

    outcomes = [desk.act.discard(*key, ids) for key, ids in choice.streams.items()]

    assert outcomes == [[]]
    assert checkpoints(url) == {"order-1": (5, False)}


def test_two_operators_at_once_discard_once(url: str, desk: Desk) -> None:
    """The second finds nothing left to do."""
    choice = desk.list.choose(LetterFilter())
    (place, ids), *_ = choice.streams.items()
    ready = threading.Barrier(2)

    def discard(actor: str) -> None:
        mine = Desk(url, actor)
        ready.wait()
        mine.act.discard(*place, ids)
        mine.connection.close()

    threads = [threading.Thread(target=discard, args=(actor,)) for actor in ("bob", "cid")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    done = rows(url, ACTIONS)
    assert [version for _, _, version, _ in done] == [3, 4, 5]
    assert len({actor for actor, *_ in done}) == 1


def test_letters_of_a_generation_that_a_rebuild_has_replaced_can_only_go(url: str, desk: Desk) -> None:
    """They are marked, no redrive takes them up, none is edited, and discarding them touches no checkpoint."""
    with psycopg.connect(url) as connection:
        connection.execute("update eventkit.projections set generation = generation + 100")
    stale = desk.list.list(LetterFilter())

    desk.redrive()
    with pytest.raises(DeadLetterError, match="not live"):
        desk.act.edit(stale[0].id, stale[0].parked_by, "order-1", "{}")

    assert all(letter.stale for letter in stale)
    assert desk.list.whole_streams(desk.list.choose(LetterFilter())).ids == []
    assert desk.list.redrivable(desk.list.choose(LetterFilter())) == 0
    assert rows(url, "select * from eventkit.redrives") == []
    assert [done for _, done in desk.discard()] == [True, True, True]
    assert checkpoints(url) == {"order-1": (2, True)}


def test_an_edited_letter_is_redriven_and_the_record_has_both(url: str, desk: Desk) -> None:
    """Its earlier data stays, with the name of the operator."""
    first = desk.list.list(LetterFilter(cause="failed"))[0]

    desk.act.edit(first.id, first.parked_by, first.stream, '{"customer": "eve", "amount": 7}')
    with projector(url) as running:
        running.redrives.serve()

    assert rows(url) == [("ann", 4, 4), ("eve", 1, 7)]
    found = rows(
        url,
        "select actor, convert_from(data, 'UTF8'), convert_from(new_data, 'UTF8') from eventkit.dead_letter_actions"
        " where action = 'edit'",
    )
    assert found == [("ann", '{"customer":"eve","amount":-1}', '{"customer": "eve", "amount": 7}')]


def test_the_record_is_append_only(desk: Desk) -> None:
    """Past actions cannot be removed."""
    desk.discard()

    with pytest.raises(psycopg.errors.RestrictViolation):
        desk.connection.execute("delete from eventkit.dead_letter_actions")


@pytest.mark.parametrize("point", ["asked_not_committed", "discarded_not_committed", "edited_not_committed"])
def test_asked_discarded_or_edited_not_committed(url: str, desk: Desk, point: str) -> None:
    """Killed before the commit: nothing has happened, and it can be done again."""
    before = (letters(url), checkpoints(url))

    _die(url, point)

    assert (letters(url), checkpoints(url)) == before
    assert rows(url, ACTIONS) == rows(url, "select * from eventkit.redrives") == []
    assert desk.discard()[0] == (3, True)


def test_redriven_not_committed(url: str, desk: Desk) -> None:
    """A projector killed while it redrives: the request stays, and the next one does it."""
    desk.redrive()
    _die(url, "redriven_not_committed")
    assert len(letters(url)) == 3

    with projector(url, mended) as running:
        running.redrives.serve()

    assert rows(url) == [("ann", 4, 4), ("eve", 1, 0)]
    assert len(rows(url, ACTIONS)) == 3


def _die(url: str, point: str) -> None:
    command = [sys.executable, "-m", "tests.projection.apply.test_dead_letters", url, point]
    assert subprocess.run(command, cwd=ROOT, check=False, timeout=60).returncode == -9


def _child(url: str, point: str) -> None:
    desk = Desk(url)
    with pytest.MonkeyPatch.context() as patch:
        if point == "redriven_not_committed":
            _die_after(patch, Redrives, "end")
            with projector(url, mended) as running:
                running.redrives.serve()
        elif point == "asked_not_committed":
            requests = desk.requests
            requests._execute = _dying(requests._execute, redrive._SEND_AGAIN)  # type: ignore[method-assign]
            desk.redrive()
        elif point == "discarded_not_committed":
            _die_after(patch, LetterActions, "_unpark")
            desk.discard()
        elif point == "edited_not_committed":
            first = desk.list.list(LetterFilter(cause="failed"))[0]
            requests = desk.act._redrives
            requests._execute = _dying(requests._execute, redrive._REQUEST)  # type: ignore[method-assign]
            desk.act.edit(first.id, first.parked_by, first.stream, "{}")


def _die_after(patch: pytest.MonkeyPatch, cls: type, name: str) -> None:
    step = getattr(cls, name)

    def dying(*arguments: object) -> None:
        step(*arguments)
        os.kill(os.getpid(), 9)

    patch.setattr(cls, name, dying)


def _dying(execute: Callable[..., Any], last: str) -> Callable[..., Any]:
    def dying(statement: str, **params: object) -> Any:  # noqa: ANN401 as it is called
        result = execute(statement, **params)
        if statement == last:
            os.kill(os.getpid(), 9)
        return result

    return dying


if __name__ == "__main__":
    _child(sys.argv[1], sys.argv[2])
