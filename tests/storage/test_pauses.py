"""Pauses are rows: recorded with who and why, refused for names that nothing has, and gone with their projection."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from eventkit.errors import PauseRefused, StorageError
from eventkit.projection.delete import delete
from eventkit.storage.pauses import Kind, Pauses

ACTIONS = "select actor, action, subject, detail from eventkit.operator_actions order by id"
KINDS: list[tuple[Kind, str]] = [("projection", "totals"), ("topic", "shop.order")]


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """An operator's connection to a database with a projection that a projector has run, and a topic."""
    with psycopg.connect(database_url, autocommit=True) as operator:
        operator.execute("insert into eventkit.projections (name, declared_version, server) values ('totals', 1, 'x')")
        operator.execute("insert into eventkit.topics (topic) values ('shop.order')")
        yield operator


@pytest.fixture
def pauses(connection: psycopg.Connection[Any]) -> Pauses:
    """The pauses of that database."""
    return Pauses(connection, "eventkit")


@pytest.mark.parametrize(("kind", "name"), KINDS)
def test_each_action_is_recorded_with_who_and_why(
    pauses: Pauses, connection: psycopg.Connection[Any], kind: Kind, name: str
) -> None:
    """The pause shows who made it; the log of actions keeps both ends of it."""
    made = pauses.pause(kind, name, actor="ann", reason="a wrong price")

    assert made.changed
    assert pauses.all() == [made.pause]
    assert made.pause is not None
    assert (made.pause.paused_by, made.pause.reason) == ("ann", "a wrong price")
    assert pauses.resume(kind, name, actor="bob", reason="mended").pause == made.pause
    assert pauses.all() == []
    assert connection.execute(ACTIONS).fetchall() == [
        ("ann", "pause", f"{kind} {name}", "a wrong price"),
        ("bob", "resume", f"{kind} {name}", "mended"),
    ]


@pytest.mark.parametrize(("kind", "name"), KINDS)
def test_a_second_action_of_one_kind_changes_nothing_and_says_so(
    pauses: Pauses, connection: psycopg.Connection[Any], kind: Kind, name: str
) -> None:
    """The first pause stays as it is, and nothing is recorded about the second."""
    nothing = pauses.resume(kind, name, actor="ann")
    first = pauses.pause(kind, name, actor="ann", reason="a wrong price")

    again = pauses.pause(kind, name, actor="bob", reason="another one")

    assert (nothing.pause, nothing.changed) == (None, False)
    assert (again.pause, again.changed) == (first.pause, False)
    assert len(connection.execute(ACTIONS).fetchall()) == 1


def test_of_many_who_pause_at_once_one_has_done_it(database_url: str, pauses: Pauses) -> None:
    """Each of them gets the same pause."""

    def paused(number: int) -> tuple[bool, str]:
        with psycopg.connect(database_url, autocommit=True) as other:
            outcome = Pauses(other, "eventkit").pause("projection", "totals", actor=f"operator {number}")
        assert outcome.pause is not None
        return outcome.changed, outcome.pause.paused_by

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(paused, range(8)))

    assert [changed for changed, _ in found].count(True) == 1
    assert len({by for _, by in found}) == 1
    assert len(pauses.all()) == 1


@pytest.mark.parametrize(("kind", "known"), [("projection", "there are totals"), ("topic", "there are shop.order")])
def test_an_unknown_name_is_refused_with_the_known_ones(pauses: Pauses, kind: Kind, known: str) -> None:
    """A slip of the pen pauses nothing, and resumes nothing."""
    for act in (pauses.pause, pauses.resume):
        with pytest.raises(PauseRefused, match=known):
            act(kind, "totls", actor="ann")
    assert pauses.all() == []


@pytest.mark.parametrize(
    "wrong", [{"name": ""}, {"name": "a\0b"}, {"actor": ""}, {"actor": "\x1b[2J"}, {"reason": "x" * 501}]
)
def test_a_text_that_cannot_be_recorded_is_refused(pauses: Pauses, wrong: dict[str, str]) -> None:
    """An actor or a reason is shown in terminals and pages."""
    given = {"name": "totals", "actor": "ann", "reason": "", **wrong}
    with pytest.raises(PauseRefused, match="cannot be recorded"):
        pauses.pause("projection", given.pop("name"), **given)


def test_a_projection_of_appends_alone_is_refused(pauses: Pauses, connection: psycopg.Connection[Any]) -> None:
    """An append cannot wait, so a pause would not be true."""
    connection.execute("insert into eventkit.projections (name, declared_version) values ('board', 1)")

    with pytest.raises(PauseRefused, match="appends apply it inline, and an append cannot wait"):
        pauses.pause("projection", "board", actor="ann")


def test_an_action_that_cannot_be_recorded_does_not_happen(pauses: Pauses, connection: psycopg.Connection[Any]) -> None:
    """Pause and record are one transaction."""
    connection.execute("alter table eventkit.operator_actions add constraint full_disk check (false) not valid")

    with pytest.raises((StorageError, psycopg.Error)):
        pauses.pause("projection", "totals", actor="ann")

    assert pauses.all() == []


def test_a_deleted_projection_takes_its_pause_with_it(pauses: Pauses, connection: psycopg.Connection[Any]) -> None:
    """A new projection of that name is not paused."""
    pauses.pause("projection", "totals", actor="ann")
    pauses.pause("topic", "shop.order", actor="ann")

    delete(connection, "eventkit", "totals", tables=False)

    assert [pause.name for pause in pauses.all()] == ["shop.order"]
