"""Four programs on well-known subjects: a bank, a wiki, cargo shipping, course subscriptions."""

import ast
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from types import ModuleType

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session, sessionmaker

from eventkit import ConcurrencyError, DecisionChanged, Repository
from examples import bank, cargo, courses, wiki
from tests.storage.shop import sqlalchemy_url


@pytest.fixture
def sessions(database_url: str) -> Iterator[sessionmaker[Session]]:
    """A maker of sessions on a fresh database."""
    engine = create_engine(sqlalchemy_url(database_url))
    yield sessionmaker(engine)
    engine.dispose()


@pytest.fixture
def session(sessions: sessionmaker[Session]) -> Iterator[Session]:
    """A session."""
    with sessions() as session:
        yield session


def opened(session: Session, key: str, balance: int) -> None:
    """Open an account and pay in."""
    with bank.accounts.change(session, key) as account:
        account.open(key)
        account.credit(Decimal(balance))


def test_a_transfer_changes_both_accounts_or_none(session: Session) -> None:
    """An uncovered transfer is refused before anything is written; an overdraft covers more."""
    opened(session, "ada", 100)
    opened(session, "bob", 0)
    bank.transfer(session, "ada", "bob", Decimal(60))
    with pytest.raises(bank.Refused, match="has 40"):
        bank.transfer(session, "ada", "bob", Decimal(60))
    with bank.accounts.change(session, "ada") as account:
        account.agree_overdraft(Decimal(20))
    bank.transfer(session, "ada", "bob", Decimal(60))

    balances = [bank.accounts.load(session, key).balance for key in ("ada", "bob")]

    assert balances == [Decimal(-20), Decimal(120)]


def test_an_account_that_another_has_changed_is_not_overdrawn(sessions: sessionmaker[Session]) -> None:
    """Two transfers from one account on the same balance: the second gets a conflict."""
    with sessions.begin() as session:
        opened(session, "ada", 100)
        opened(session, "bob", 0)
    with sessions() as late:
        account = bank.accounts.load(late, "ada")
        account.debit(Decimal(100))
        with sessions.begin() as early:
            bank.transfer(early, "ada", "bob", Decimal(100))
        with pytest.raises(ConcurrencyError):
            bank.accounts.save(late, account)


def test_a_closed_account_takes_and_gives_nothing(session: Session) -> None:
    """It is closed once it is settled, and not opened again; one that was never opened is refused too."""
    opened(session, "ada", 5)
    account = bank.accounts.load(session, "ada")
    with pytest.raises(bank.Refused, match="settle"):
        account.close()
    account.debit(Decimal(5))
    account.close()
    for refused in (lambda: account.credit(Decimal(1)), lambda: account.open("ada"), account.close):
        with pytest.raises(bank.Refused):
            refused()  # type: ignore[no-untyped-call]
    with pytest.raises(bank.Refused, match="not open"):
        bank.accounts.load(session, "nobody").credit(Decimal(1))


def test_a_page_is_found_by_its_slug_and_says_who_changed_it_last(session: Session) -> None:
    """A page that moves leaves its slug to others."""
    wiki.create_page(session, "home", "Home", user="ada")
    wiki.change_body(session, "home", "first\nsecond", user="ada")
    wiki.change_slug(session, "home", "start", user="bob")
    wiki.change_title(session, "start", "Start", user="cy")
    wiki.create_page(session, "home", "Another", user="ada")

    page = wiki.page_at(session, "start")

    assert (page.title, page.body, page.changed_by) == ("Start", "first\nsecond", "cy")
    assert page.changed_at is not None
    assert wiki.page_at(session, "home").title == "Another"
    assert wiki.page_at(session, "start", 1).body == ""
    with pytest.raises(wiki.SlugTaken):
        wiki.create_page(session, "start", "Third", user="ada")
    with pytest.raises(wiki.SlugTaken):
        wiki.change_slug(session, "home", "start", user="ada")
    with pytest.raises(wiki.PageNotFound):
        wiki.page_at(session, "nowhere")


def test_the_log_of_a_wiki_has_its_changes_newest_first(session: Session) -> None:
    """Each with its user, its page and its change; two versions of a page can be compared."""
    wiki.create_page(session, "home", "Home", user="ada")
    wiki.change_body(session, "home", "one\ntwo", user="bob")
    wiki.change_body(session, "home", "one\nthree", user="cy")

    found = list(wiki.changes(session, newest=2))

    assert [(one.user, one.what) for one in found] == [
        ("cy", wiki.BodyChanged("one\nthree")),
        ("bob", wiki.BodyChanged("one\ntwo")),
    ]
    assert wiki.difference(session, "home", 2, 3)[2:] == ["@@ -2 +2 @@", "-two", "+three"]


def test_a_slug_is_given_once(sessions: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two who found it free: the second gets an error, whether it makes a page or moves one."""
    with sessions.begin() as session:
        wiki.create_page(session, "home", "Home", user="ada")
    create = between(monkeypatch, wiki.pages, sessions, lambda early: wiki.create_page(early, "a", "First", user="ada"))
    create(lambda late: wiki.create_page(late, "a", "Second", user="bob"))
    move = between(monkeypatch, wiki.pages, sessions, lambda early: wiki.create_page(early, "b", "Third", user="ada"))
    move(lambda late: wiki.change_slug(late, "home", "b", user="bob"))


def between(
    monkeypatch: pytest.MonkeyPatch,
    repository: Repository[wiki.Page],
    sessions: sessionmaker[Session],
    first: Callable[[Session], None],
) -> Callable[[Callable[[Session], None]], None]:
    """Return a function that lets another decide and commit before its own save: it must be refused."""

    def run(second: Callable[[Session], None]) -> None:
        save = type(repository).save

        def interrupted(self: object, connection: Session, *args: object, **kwargs: object) -> object:
            monkeypatch.setattr(type(repository), "save", save)
            with sessions.begin() as early:
                first(early)
            return save(self, connection, *args, **kwargs)  # type: ignore[arg-type]

        monkeypatch.setattr(type(repository), "save", interrupted)
        with sessions() as late, pytest.raises(DecisionChanged):
            second(late)

    return run


def test_a_cargo_is_tracked_to_its_destination(session: Session) -> None:
    """Each step is the one that was expected, until it is claimed."""
    key = cargo.book(session, "Hongkong", "Stockholm", date(2026, 3, 1))
    cargo.assign_route(session, key, cargo.Leg("Hongkong", "New York", "V1"), cargo.Leg("New York", "Stockholm", "V2"))
    expected = []
    while (step := cargo.cargos.load(session, key).next_step) is not None:
        expected.append(step)
        cargo.handle(session, key, *step)

    found = cargo.cargos.load(session, key)

    assert expected == [
        ("receive", "Hongkong", None),
        ("load", "Hongkong", "V1"),
        ("unload", "New York", "V1"),
        ("load", "New York", "V2"),
        ("unload", "Stockholm", "V2"),
        ("claim", "Stockholm", None),
    ]
    assert (found.delivered, found.misdirected, found.location) == (True, False, "Stockholm")


def test_a_cargo_that_went_astray_is_routed_again_from_where_it_is(session: Session) -> None:
    """So is one whose destination has changed on the way."""
    key = cargo.book(session, "Hongkong", "Stockholm", date(2026, 3, 1))
    cargo.assign_route(session, key, cargo.Leg("Hongkong", "Stockholm", "V1"))
    cargo.handle(session, key, "receive", "Hongkong")
    cargo.handle(session, key, "load", "Hongkong", "V9")
    cargo.handle(session, key, "unload", "Tokyo", "V9")
    astray = cargo.cargos.load(session, key)
    with pytest.raises(cargo.NotOnRoute):
        cargo.assign_route(session, key, cargo.Leg("Hongkong", "Stockholm", "V1"))
    cargo.change_destination(session, key, "Helsinki")
    cargo.assign_route(session, key, cargo.Leg("Tokyo", "Helsinki", "V3"))

    found = cargo.cargos.load(session, key)

    assert (astray.misdirected, astray.next_step, astray.location) == (True, None, "Tokyo")
    assert (found.misdirected, found.next_step) == (False, ("load", "Tokyo", "V3"))


def offered(session: Session, course: str, places: int) -> None:
    """Offer a course."""
    courses.store.append(session, courses.school.stream("course", course), courses.CourseOffered(course, places))


def registered(session: Session, student: str, most: int) -> None:
    """Register a student."""
    courses.store.append(session, courses.school.stream("student", student), courses.StudentRegistered(student, most))


def test_a_course_is_not_overbooked_and_a_student_not_overloaded(session: Session) -> None:
    """Who is there is listed; nobody joins twice."""
    offered(session, "maths", 2)
    offered(session, "music", 2)
    for student, most in (("ada", 1), ("bob", 2), ("cy", 2)):
        registered(session, student, most)
    courses.join(session, "maths", "ada")
    courses.join(session, "maths", "bob")
    for course, student in (("maths", "cy"), ("music", "ada"), ("maths", "bob"), ("none", "cy"), ("music", "dan")):
        with pytest.raises(courses.Refused):
            courses.join(session, course, student)

    assert courses.students_of(session, "maths") == ["ada", "bob"]


def test_the_last_place_is_given_once(sessions: sessionmaker[Session]) -> None:
    """Two who found it free: the second gets an error."""
    with sessions.begin() as session:
        offered(session, "maths", 1)
        registered(session, "ada", 1)
        registered(session, "bob", 1)
    with sessions() as late:
        enrolment = courses.enrolments.load(late, "maths", "bob")
        with sessions.begin() as early:
            courses.join(early, "maths", "ada")
        stream = courses.school.stream("course", "maths")
        with pytest.raises(DecisionChanged):
            courses.enrolments.append(late, enrolment, stream, courses.StudentJoined("maths", "bob"))


@pytest.mark.parametrize(("module", "most"), [(bank, 95), (wiki, 141), (cargo, 121), (courses, 55)])
def test_a_program_is_no_longer_than_its_subject_needs(module: ModuleType, most: int) -> None:
    """Lines of code: not blank, no comment, no docstring."""
    assert lines_of_code(Path(str(module.__file__)).read_text()) <= most


def lines_of_code(source: str) -> int:
    """Count the lines that are neither blank nor comments nor part of a docstring."""
    documented: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            documented.update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    lines = [line.strip() for number, line in enumerate(source.splitlines(), 1) if number not in documented]
    return sum(bool(line) and not line.startswith("#") for line in lines)
