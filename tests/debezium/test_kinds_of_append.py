"""Whatever appends an event, Debezium gets one message for it, in the order of the positions."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from eventkit import NO_STREAM, Append, Deadlines, EventStore, Inline
from tests.debezium.test_mode import KEEP, admin, put  # noqa: F401 a fixture
from tests.faults.shop import Noted, order, store
from tests.projection.shop import CREATE, Ordered, shop, totals
from tests.storage.outbox.test_unpublished import fire
from tests.storage.people import ADA, MASTERS, REGISTERED, crm
from tests.storage.tags.courses import CourseDefined, Subscribed, enrol, school, seats_of
from tests.storage.tags.courses import store as courses

Connection = psycopg.Connection[Any]

INLINE = EventStore(shop, inline=Inline(totals()))
CRM = EventStore(crm, master_keys=MASTERS)
COURSE, SEAT = school.stream("course", "c"), school.stream("subscription", "s")
APPENDS: dict[str, Callable[[Connection], object]] = {
    "one": lambda session: store.append(session, order(1), Noted(1)),
    "one at a version": lambda session: store.append(session, order(1), Noted(1), expected=1),
    "several": lambda session: store.append(session, order(1), Noted(1), Noted(2)),
    "one with a guard": lambda session: store.append(session, order(1), Noted(1), guards={order(9): NO_STREAM}),
    "several streams with a guard": lambda session: store.append_many(
        session, [Append(order(3), [Noted(1)]), Append(order(2), [Noted(1), Noted(2)])], guards={order(1): 5}
    ),
    "one with a tag": lambda session: courses.append(session, COURSE, CourseDefined("c")),
    "several with tags": lambda session: enrol(session, ("c", "a"), ("c", "b")),
    "one by a decision": lambda session: courses.append(
        session, SEAT, Subscribed("c", "d"), unless_changed=courses.query(session, seats_of("c"))
    ),
    "several by a decision": lambda session: courses.append(
        session, SEAT, Subscribed("c", "e"), Subscribed("c", "f"), unless_changed=courses.query(session, seats_of("c"))
    ),
    "the first with an inline projection": lambda session: INLINE.append(session, order(4), Ordered("ann", 1)),
    "one with an inline projection": lambda session: INLINE.append(session, order(4), Ordered("ann", 1)),
    "several with an inline projection": lambda session: INLINE.append_many(
        session, [Append(order(4), [Ordered("ann", 1), Ordered("bob", 1)]), Append(order(5), [Ordered("ann", 1)])]
    ),
    "one with personal data": lambda session: CRM.append(session, ADA, REGISTERED),
    "a deadline": lambda session: Deadlines(store).set(session, order(1), Noted(1), timedelta(0)),
}
WRITTEN = """select position, source || '.' || split_part(stream, '-', 1), data::text from eventkit.events
 order by position"""
SENT = "select position, split_part(route, ':', 2), data from kept order by ctid"


@pytest.mark.parametrize("mode", ["both", "debezium"])
def test_every_kind_of_append_writes_a_message_for_each_event(
    admin: Connection,  # noqa: F811
    database_url: str,
    mode: str,
) -> None:
    """With guards, tags, decisions, inline projections, personal data and deadlines too."""
    admin.execute(KEEP)
    admin.execute(CREATE)
    put(admin, mode)

    for kind, append in APPENDS.items():
        with psycopg.connect(database_url) as session:
            append(session)
        assert admin.execute(SENT).fetchall() == admin.execute(WRITTEN).fetchall(), kind
    fire(database_url)

    sent = admin.execute(SENT).fetchall()
    assert sent == admin.execute(WRITTEN).fetchall()
    assert len(sent) == 21
