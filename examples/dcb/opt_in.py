"""Opt-in token: a registration is confirmed with the code that was sent, once, by the first who has it."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from eventkit import Catalog, EventStore, QueryItem

mail = Catalog("mail")
store = EventStore(mail)


@mail.event(tags=["code"])
@dataclass(frozen=True)
class Invited:
    name: str
    code: str


@mail.event(tags=["code"])
@dataclass(frozen=True)
class Confirmed:
    name: str
    code: str


class WrongCode(Exception):
    """The code was never sent, or was used."""


def invite(session: Session, name: str, code: str) -> None:
    store.append(session, mail.stream("registration", code), Invited(name, code))


def confirm(session: Session, code: str) -> str:
    decision = store.query(session, QueryItem([f"code:{code}"]))
    if [type(envelope.event) for envelope in decision] != [Invited]:
        raise WrongCode(code)
    name: str = decision.events[0].event.name
    store.append(session, mail.stream("registration", code), Confirmed(name, code), unless_changed=decision)
    return name
