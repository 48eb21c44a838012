"""The published examples of decisions over several entities: each rule holds, also when two are at it at once."""

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session, sessionmaker

from eventkit import DecisionChanged
from examples.dcb import courses, idempotency, invoices, opt_in, prices, usernames
from tests.storage.shop import sqlalchemy_url


@pytest.fixture
def sessions(database_url: str) -> Iterator[sessionmaker[Session]]:
    """A maker of sessions on a fresh database."""
    engine = create_engine(sqlalchemy_url(database_url))
    yield sessionmaker(engine)
    engine.dispose()


def at_once(
    sessions: sessionmaker[Session],
    monkeypatch: pytest.MonkeyPatch,
    module: object,
    first: Callable[[Session], object],
    second: Callable[[Session], object],
) -> None:
    """Let the second decide, then the first decide and commit, then the second append: it must be refused."""
    store = module.store  # type: ignore[attr-defined]
    query = type(store).query

    def interrupted(self: object, connection: Session, *items: object) -> object:
        decision = query(self, connection, *items)
        if connection is late:
            with sessions.begin() as early:
                first(early)
        return decision

    monkeypatch.setattr(type(store), "query", interrupted)
    with sessions() as late, pytest.raises(DecisionChanged):
        second(late)


def test_a_course_takes_as_many_as_it_has_seats(
    sessions: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last seat is given once; a student takes five courses."""
    with sessions.begin() as session:
        for number in range(6):
            courses.define(session, f"c{number}", 2)
        for number in range(5):
            courses.subscribe(session, f"c{number}", "ada")
        with pytest.raises(courses.Full):
            courses.subscribe(session, "c5", "ada")

    at_once(
        sessions,
        monkeypatch,
        courses,
        lambda session: courses.subscribe(session, "c0", "bob"),
        lambda session: courses.subscribe(session, "c0", "cy"),
    )
    with sessions() as session, pytest.raises(courses.Full):
        courses.subscribe(session, "c0", "cy")


def test_a_user_name_belongs_to_one_account_at_a_time(
    sessions: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is free again when the account is closed."""
    at_once(
        sessions,
        monkeypatch,
        usernames,
        lambda session: usernames.register(session, "1", "ada"),
        lambda session: usernames.register(session, "2", "ada"),
    )
    with sessions.begin() as session:
        with pytest.raises(usernames.Taken):
            usernames.register(session, "2", "ada")
        usernames.close(session, "1", "ada")
        usernames.register(session, "2", "ada")


def test_invoice_numbers_have_no_gaps(sessions: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch) -> None:
    """A number is given once; one that was rolled back is given again."""
    with sessions() as session:
        assert invoices.create(session, Decimal(1)) == 1
        session.rollback()
        assert invoices.create(session, Decimal(2)) == 1
        session.commit()

    at_once(
        sessions,
        monkeypatch,
        invoices,
        lambda session: invoices.create(session, Decimal(3)),
        lambda session: invoices.create(session, Decimal(4)),
    )
    with sessions() as session:
        assert invoices.create(session, Decimal(5)) == 3


def test_an_order_with_one_token_is_placed_once(
    sessions: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second gets the first order."""
    at_once(
        sessions,
        monkeypatch,
        idempotency,
        lambda session: idempotency.place(session, "1", "t"),
        lambda session: idempotency.place(session, "2", "t"),
    )
    with sessions() as session:
        assert idempotency.place(session, "2", "t") == "1"


def test_an_order_is_taken_at_the_newest_price(
    sessions: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A price that changes meanwhile refuses the order; another order does not."""
    with sessions.begin() as session:
        prices.set_price(session, "tea", Decimal(2))
        prices.order(session, "1", "tea", Decimal(2))

    at_once(
        sessions,
        monkeypatch,
        prices,
        lambda session: prices.set_price(session, "tea", Decimal(3)),
        lambda session: prices.order(session, "2", "tea", Decimal(2)),
    )
    with sessions() as session, pytest.raises(prices.PriceChanged):
        prices.order(session, "2", "tea", Decimal(2))


def test_a_code_confirms_one_registration_once(
    sessions: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A used code, and one that was never sent, are refused."""
    with sessions.begin() as session:
        opt_in.invite(session, "ada", "42")

    at_once(
        sessions,
        monkeypatch,
        opt_in,
        lambda session: opt_in.confirm(session, "42"),
        lambda session: opt_in.confirm(session, "42"),
    )
    for code in ("42", "43"):
        with sessions() as session, pytest.raises(opt_in.WrongCode):
            opt_in.confirm(session, code)


@pytest.mark.parametrize("module", [courses, idempotency, invoices, opt_in, prices, usernames])
def test_each_example_is_short(module: object) -> None:
    """Under forty lines of code."""
    lines = Path(str(module.__file__)).read_text().splitlines()  # type: ignore[attr-defined]
    assert sum(bool(line.strip()) and not line.startswith('"""') for line in lines) < 40
