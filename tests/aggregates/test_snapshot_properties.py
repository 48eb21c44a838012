"""After any sequence of changes to a stream and its snapshots, the loaded state is the fold of the events."""

from typing import Any
from uuid import uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from eventkit.aggregates.repository import Repository
from eventkit.aggregates.snapshots import Snapshots
from tests.aggregates.shop import Order, store

OPERATIONS = ["add", "add", "add", "commit", "roll back", "savepoint", "other", "forget", "spoil", "another fold"]


@given(every=st.integers(1, 4), plan=st.lists(st.sampled_from(OPERATIONS), max_size=25))
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_the_state_is_always_the_fold(engine: Engine, every: int, plan: list[str]) -> None:
    """Saves, rollbacks, savepoints, another writer, lost and spoilt snapshots, in any order: loading is right."""
    key = uuid4()
    plain = Repository(store, Order, category="order")
    orders = Repository(store, Order, category="order", snapshots=Snapshots(every=every))

    def change(session: Session) -> None:
        with orders.change(session, key) as order:
            order.add(f"{'x' * (9 - order.version % 10)}{order.version}")  # jsonb would sort them

    def nested(session: Session) -> None:
        with session.begin_nested() as savepoint:
            change(session)
            savepoint.rollback()

    def other(session: Session) -> None:
        session.commit()
        with Session(engine) as another, another.begin():
            change(another)

    acts: dict[str, Any] = {
        "add": change,
        "commit": Session.commit,
        "roll back": Session.rollback,
        "savepoint": nested,
        "other": other,
        "forget": lambda session: session.execute(text("delete from eventkit.snapshots")),
        "spoil": lambda session: session.execute(text("update eventkit.snapshots set state = '[]'")),
        "another fold": lambda session: session.execute(text("update eventkit.snapshots set fingerprint = 'x'")),
    }
    with Session(engine) as session:
        for name in plan:
            acts[name](session)
            now, told = orders.load(session, key), plain.load(session, key)
            assert (now, list(now.items), now.version) == (told, list(told.items), told.version)
