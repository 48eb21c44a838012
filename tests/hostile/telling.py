"""Projections whose handlers fail in every way there is, each time with the event in their error.

`telling` fails by its events, which are parked. `later` fails by its surroundings, so its events wait.
"""

from sqlalchemy import Connection, text

from eventkit import Envelope, TryLater
from eventkit.projection.define.sql import SqlProjection
from tests.projection.shop import Ordered, shop

telling = SqlProjection("telling", shop, categories=["order"])
later = SqlProjection("later", shop, categories=["order"])


@telling.on(Ordered)
def ordered(connection: Connection, event: Ordered, envelope: Envelope[Ordered]) -> None:
    """Fail as the amount says."""
    if event.amount == 1:
        raise ValueError(event.customer)
    if event.amount == 2:
        connection.execute(text("select cast(:customer as int)"), {"customer": event.customer})
    if event.amount == 3:
        raise KeyError(envelope)
    if event.amount == 6:
        raise RuntimeError(event.customer) from ValueError(event.customer)
    if event.amount == 7:
        raise ExceptionGroup(event.customer, [ValueError(event.customer)])


@later.on(Ordered)
def ordered_later(_: Connection, event: Ordered) -> None:
    """Fail as the amount says."""
    if event.amount == 4:
        raise OSError(event.customer)
    if event.amount == 5:
        raise TryLater(3600, "the API is away")  # a handler's own words, which may be shown
