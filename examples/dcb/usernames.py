"""Unique user names: a name belongs to one account at a time, and is free again once the account is closed."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from eventkit import Catalog, EventStore, QueryItem

accounts = Catalog("accounts")
store = EventStore(accounts)


@accounts.event(tags=["username"])
@dataclass(frozen=True)
class Registered:
    username: str


@accounts.event(tags=["username"])
@dataclass(frozen=True)
class Closed:
    username: str


class Taken(Exception):
    """Somebody has this name."""


def register(session: Session, account: str, username: str) -> None:
    decision = store.query(session, QueryItem([f"username:{username}"]))
    if decision.events and isinstance(decision.events[-1].event, Registered):
        raise Taken(username)
    store.append(session, accounts.stream("account", account), Registered(username), unless_changed=decision)


def close(session: Session, account: str, username: str) -> None:
    store.append(session, accounts.stream("account", account), Closed(username))
