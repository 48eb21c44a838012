"""The program of docs/retry-policies.md: a bank that is down is waited for, a refused card is parked at once."""

import psycopg
import pytest

from eventkit import EventStore
from eventkit.config import Settings
from eventkit.projection.run import ProjectionRunner, SourceOptions
from eventkit.worker import Stop
from examples import retries
from examples.retries import Bank, BankDown, CardRefused, ChargeCard, SendReceipt, payments, shop


class Moody(Bank):
    """A bank that is down for its first two callers, and refuses a card of 13 cents."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def charge(self, cents: int, *, key: str) -> None:
        """Charge a card, or not."""
        assert key
        self.calls.append(cents)
        if len(self.calls) <= 2:
            raise BankDown
        if cents == 13:
            raise CardRefused


def test_the_bank_is_waited_for_and_a_refused_card_is_parked(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one attempt; the other cards are charged, and receipts are sent meanwhile."""
    bank = Moody()
    monkeypatch.setattr(retries, "bank", bank)
    monkeypatch.setattr(retries, "post", [])
    with psycopg.connect(database_url) as connection:
        connection.execute("create table charges (order_id text primary key, cents int)")
        connection.execute("create table receipts (order_id text primary key)")
        for order, cents in (("1", 100), ("2", 13), ("3", 300)):
            EventStore(shop).append(connection, shop.stream("card", order), ChargeCard(order, cents))
        EventStore(shop).append(connection, shop.stream("receipt", "1"), SendReceipt("1"))

    wanted = SourceOptions(from_store=True, until_idle=5)
    ProjectionRunner(payments, Settings(database_url=database_url), wanted).work(Stop())

    with psycopg.connect(database_url) as connection:
        assert connection.execute("select cents from charges order by 1").fetchall() == [(100,), (300,)]
        letters = connection.execute("select stream, cause, attempts from eventkit.dead_letters").fetchall()
    assert letters == [("card-2", "failed", 1)]
    assert len(bank.calls) == 5
    assert retries.post == ["1"]
