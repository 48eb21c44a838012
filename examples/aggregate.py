"""An account as an aggregate: it decides in plain Python, and no two writers decide on the same state.

$ python -m eventkit.embedded          # or a PostgreSQL of yours; paste the lines it prints
$ eventkit db upgrade
$ python -m examples.aggregate
"""

from dataclasses import dataclass

from sqlalchemy import create_engine
from sqlalchemy.orm import Session, sessionmaker

from eventkit import Aggregate, Catalog, EventStore, Repository, evolve, load_settings, retry_on_conflict

bank = Catalog("bank")


@bank.event
@dataclass(frozen=True)
class Deposited:
    amount: int


@bank.event
@dataclass(frozen=True)
class Withdrawn:
    amount: int


class NotCovered(Exception):
    """The account has less than that."""


@dataclass
class Account(Aggregate):
    """Its fields are the state; only the evolve methods change them."""

    balance: int = 0

    def deposit(self, amount: int) -> None:
        self.record(Deposited(amount))

    def withdraw(self, amount: int) -> None:
        if amount > self.balance:
            raise NotCovered(f"{self.stream} has {self.balance}, not {amount}")
        self.record(Withdrawn(amount))

    @evolve
    def _deposited(self, event: Deposited) -> None:
        self.balance += event.amount

    @evolve
    def _withdrawn(self, event: Withdrawn) -> None:
        self.balance -= event.amount


accounts = Repository(EventStore(bank), Account, category="account")


def withdraw(session: Session, account_id: str, amount: int) -> None:
    with accounts.change(session, account_id) as account:  # loaded here, appended at the end of the block
        account.withdraw(amount)


def main() -> None:
    """Pay in, take out, and be refused."""
    sessions = sessionmaker(create_engine(load_settings().sqlalchemy_url))
    with sessions.begin() as session, accounts.change(session, "ada") as account:
        account.deposit(100)
    retry_on_conflict(sessions.begin, lambda session: withdraw(session, "ada", 60))  # again, if another was first
    try:
        retry_on_conflict(sessions.begin, lambda session: withdraw(session, "ada", 60))
    except NotCovered as refusal:
        print(f"refused: {refusal}")


if __name__ == "__main__":
    main()
