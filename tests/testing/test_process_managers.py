"""A scenario of a process manager: its appended events, the deadline that it sets, and its reaction when that fires."""

from datetime import timedelta

from eventkit.testing import at, given
from tests.messaging.fulfilment import manager
from tests.messaging.shop import ChargeCard, OrderCancelled, OrderPlaced, PaymentOverdue, order


def test_a_process_manager_is_tested_by_its_commands_and_deadlines(eventkit_database: str) -> None:
    """The command is appended with the event; in time nothing more happens, then the order is cancelled."""
    scenario = given(manager(), database=eventkit_database).when(at(order("1"), OrderPlaced("1", 1)))

    scenario.then_appended(at("charge_card-1", ChargeCard("1", 1))).then_deadlines(at("order-1", PaymentOverdue("1")))
    scenario.when_due(timedelta(hours=1)).then_nothing()
    scenario.when_due(timedelta(days=30)).then_appended(at("order-1", OrderCancelled("1"))).then_deadlines()
