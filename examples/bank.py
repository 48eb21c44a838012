"""Bank accounts: paid in and out, with an overdraft; a transfer changes both accounts or none."""

from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy.orm import Session

from eventkit import Aggregate, Catalog, EventStore, Repository, evolve

bank = Catalog("bank")


@bank.event
@dataclass(frozen=True)
class AccountOpened:
    holder: str


@bank.event
@dataclass(frozen=True)
class Credited:
    amount: Decimal


@bank.event
@dataclass(frozen=True)
class Debited:
    amount: Decimal


@bank.event
@dataclass(frozen=True)
class OverdraftAgreed:
    limit: Decimal


@bank.event
@dataclass(frozen=True)
class AccountClosed:
    pass


class Refused(Exception):
    """An account does not allow this."""


@dataclass
class Account(Aggregate):
    is_open: bool = False
    balance: Decimal = Decimal(0)
    overdraft: Decimal = Decimal(0)

    def open(self, holder: str) -> None:
        if self.version:
            raise Refused(f"{self.stream} was opened before")
        self.record(AccountOpened(holder))

    def credit(self, amount: Decimal) -> None:
        self._check_open()
        self.record(Credited(amount))

    def debit(self, amount: Decimal) -> None:
        self._check_open()
        if self.balance + self.overdraft < amount:
            raise Refused(f"{self.stream} has {self.balance}, not {amount}")
        self.record(Debited(amount))

    def agree_overdraft(self, limit: Decimal) -> None:
        self._check_open()
        self.record(OverdraftAgreed(limit))

    def close(self) -> None:
        self._check_open()
        if self.balance:
            raise Refused(f"{self.stream} has {self.balance}: settle it first")
        self.record(AccountClosed())

    def _check_open(self) -> None:
        if not self.is_open:
            raise Refused(f"{self.stream} is not open")

    @evolve(AccountOpened, AccountClosed)
    def _opened_or_closed(self, event: AccountOpened | AccountClosed) -> None:
        self.is_open = isinstance(event, AccountOpened)

    @evolve
    def _credited(self, event: Credited) -> None:
        self.balance += event.amount

    @evolve
    def _debited(self, event: Debited) -> None:
        self.balance -= event.amount

    @evolve
    def _overdraft_agreed(self, event: OverdraftAgreed) -> None:
        self.overdraft = event.limit


accounts = Repository(EventStore(bank), Account, category="account")


def transfer(session: Session, giver: str, taker: str, amount: Decimal) -> None:
    source, target = accounts.load(session, giver), accounts.load(session, taker)
    source.debit(amount)
    target.credit(amount)
    accounts.save_many(session, source, target)
