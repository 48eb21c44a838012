"""All that each role of `eventkit db roles` is for, in this process: services, relays, projectors, operators, auditors.

Broker and processes are those of `local://`, so that every statement is run, and seen, in this process.
"""

import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from click.testing import CliRunner
from sqlalchemy import Connection

from eventkit import (
    NO_STREAM,
    Append,
    Deadlines,
    DecisionModel,
    Decisions,
    EventStore,
    Handlers,
    Privacy,
    QueryItem,
    Requester,
    Sender,
    Snapshots,
    evolve,
    wait_for,
)
from eventkit.cli import main
from eventkit.cli.common.preflight import topics_of
from eventkit.config import Settings
from eventkit.errors import ProjectionError
from eventkit.messaging.timer_worker import SESSION, TimerWorker
from eventkit.relay import Claims
from eventkit.storage.db.connection import connect
from eventkit.storage.events.categories import record_held
from eventkit.storage.outbox.gap_reader import GapReader, Row
from eventkit.storage.outbox.leases import Lease
from eventkit.storage.outbox.outbox import READING, Outbox, Scope
from eventkit.storage.outbox.parking import RelayParking
from eventkit.storage.outbox.part_leases import Parts
from eventkit.storage.outbox.settlement import Settlement
from eventkit.storage.processes import Heartbeats, WorkerProcess
from eventkit.storage.projections.broker_places import BrokerPlaces
from eventkit.storage.schema.grants import name_of
from eventkit.storage.schema.installation import refuse_moved
from eventkit.storage.schema_ids import KnownSchema, known_schemas, record_schema
from eventkit.transports import open_transport
from tests.aggregates.test_personal_snapshots import customers, state, visits
from tests.messaging.pricing import CREATE as ASKED
from tests.messaging.pricing import GetPrice, Price, pricing, working
from tests.projection.shop import Left, Ordered, shop, totals
from tests.storage.people import ADA, REGISTERED, crm
from tests.storage.people import store as people
from tests.storage.tags import courses
from tests.surroundings.rig import acting, execute, found, projected, relayed
from tests.surroundings.roles import Installation
from tests.surroundings.test_roles import LOOKS as ALL_LOOKS

LOOKS = [look for look in ALL_LOOKS if look[-1] != "roles"]
store = EventStore(shop)


@dataclass
class Course(DecisionModel):
    """How many students a course has."""

    course: str
    students: int = 0

    def query(self) -> list[QueryItem]:
        """Return the query of the workload."""
        return [QueryItem([f"course:{self.course}"])]

    @evolve
    def _subscribed(self, event: courses.Subscribed) -> None:
        del event
        self.students += 1


decisions = Decisions(courses.store, Course, snapshots=Snapshots(every=1))


class World:
    """An installation, and a broker of the test's own."""

    def __init__(self, installation: Installation, folder: Path) -> None:
        self.installation = installation
        self.members = installation.members
        self.folder = folder
        self.broker = f"local://{uuid.uuid4().hex}"
        open_transport(self.broker).create_topics(["shop.order"], partitions=1)

    def append(self, *events: object, key: int | str = 1) -> None:
        """Append as the tests' own role."""
        with psycopg.connect(self.installation.url) as service:
            store.append(service, shop.stream("order", key), *events)

    def command(self, role: str, *words: str, url: str | None = None) -> str:
        """Run a command in this process; it may have something to say, and lacks no right."""
        urls = {"EVENTKIT_DATABASE_URL": url or self.members[role]}
        done = CliRunner().invoke(main, words, env=urls)
        assert isinstance(done.exception, SystemExit | None), f"{words}: {done.exception!r}"
        refused = done.output.replace("permission denied to vacuum", "")  # a table's owner may; the command says so
        assert "permission denied" not in refused, f"{words}: {done.output}"
        return done.output


def writer(world: World) -> None:
    """A service: appends of each kind, reads, deadlines, snapshots, decisions by tags, people, subscriptions."""
    url, stream = world.members["writer"], shop.stream("order", 7)
    with psycopg.connect(url) as service:
        last = store.append(service, stream, Ordered("ann", 1), expected=NO_STREAM)
        store.append(service, stream, Ordered("ann", 2), expected=1, tags=["customer:ann"])
        store.append_many(service, [Append(stream, [Left("bob")]), Append(shop.stream("order", 8), [Left("eve")])])
        store.append(service, stream, Ordered("ann", 2), ids=[uuid.uuid4()])
        courses.subscribe(service, "c1", "s1", place="1")
        for student in ("s2", "s3"):
            place = courses.school.stream("subscription", student)
            decisions.append(service, decisions.load(service, "c1"), place, courses.Subscribed("c1", student))
        store.append(service, stream, Left("ann"), unless_changed=store.query(service, QueryItem(["customer:ann"])))
        Deadlines(store).set(service, stream, Ordered("ann", 5), timedelta(hours=1))
        Deadlines(store).cancel(service, stream, Ordered)
        Deadlines(store).set(service, stream, Ordered("ann", 5), timedelta(0))
        people.append(service, ADA, REGISTERED)
        visits(service, customers())
        state(service, customers())
        list(people.read_stream(service, ADA))
        list(people.read_category(service, "customer"))
        list(store.read_all(service, categories=["order"]))
        Privacy(people).forget(service, "customer-43")
        Privacy(people).readmit(service, "customer-43")
        service.commit()
        with suppress(ProjectionError):  # it is not registered
            wait_for(service, totals(), last, timeout=0.0)
    with store.subscribe(url, after=0, categories=["order"]) as subscription:
        next(iter(subscription))


def heartbeat(url: str, role: str) -> None:
    """Write, renew and delete a process's row, and delete old ones."""
    with connect(url, name="heartbeat", autocommit=True) as session:
        rows = Heartbeats(session, "eventkit")
        rows.forget_old(role, role)
        process = WorkerProcess(uuid4(), role, role, "here", 1, "0")
        rows.beat(process, age=0.0, state={})
        rows.end(process.id)


def relay(world: World) -> None:
    """A relay: start, heartbeat, two events that it sends, one that it parks, a topic that it holds, a redrive."""
    url = world.members["relay"]
    heartbeat(url, "relay")
    world.append(Ordered("ann", 1), Ordered("ann", 2), key=1)
    topics_of(Settings(database_url=url))
    with connect(url, name="check", autocommit=True) as session:
        owner = str(refuse_moved(session, "eventkit").id)
        assert Claims(open_transport(world.broker)).refused(session, "eventkit", ["shop.order"], owner=owner) == {}
        record_held(session, "eventkit", {"shop.held": "it is not there"})
        record_schema(session, "eventkit", KnownSchema("https://registry", "shop.Ordered", 1, 7, None))
        assert known_schemas(session, "eventkit", registry="https://registry")
    relayed(url, world.broker)
    world.append(Ordered("ann", 3), key=2)
    with (
        connect(url, name="lease", autocommit=True) as holding,
        connect(url, name="reader", autocommit=True, options=READING) as reading,
        connect(url, name="settlement", autocommit=True) as writing,
    ):
        lease = Lease(holding, "eventkit", name="relay 0/1", owner="test")
        assert lease.acquire(lambda: False)
        ((position, *_),) = _unsent(reading)
        RelayParking(Settlement(writing, "eventkit", parts=Parts({0: lease.epoch}))).park(position, "too large")
        assert _unsent(reading) == []
        lease.release()
    _beat(url, "relay")


def _unsent(reading: psycopg.Connection[Any]) -> list[Row]:
    outbox = Outbox(reading, "eventkit")
    reader = GapReader(Outbox(reading, "eventkit", scope=Scope(parked=outbox.parked())))
    reader.start_pending()
    return reader.read()


def _beat(url: str, role: str) -> None:
    """Write a process's heartbeat, and its end."""
    with connect(url, name="heartbeat", autocommit=True) as session:
        rows, process = Heartbeats(session, "eventkit"), WorkerProcess(uuid.uuid4(), role, role, "host", 1, "1")
        rows.forget_old(role, role)
        rows.beat(process, age=0.0, state={})
        rows.end(process.id)


def projector(world: World) -> None:
    """Read models from store and broker, a letter and its redrive, handlers, a process, a responder, deadlines."""
    url, admin = world.members["projector"], world.installation.url
    heartbeat(url, "projector")
    execute(admin, "update eventkit.installation set database_oid = null, system_identifier = null, timeline = null")
    world.append(Ordered("ann", 1), Ordered("ann", -3), Ordered("ann", 3), key=1)
    _beat(url, "projector")
    projected(url, None, totals())
    world.command("operator", "dead-letters", "redrive", "--all", "--yes", "--wait", "0")
    projected(url, None, totals())
    world.append(Ordered("ann", 4), key=1)
    world.append(Ordered("ann", 1), Ordered("ann", 1), key="cut")
    execute(admin, "delete from eventkit.outbox where position = (select max(position) - 1 from eventkit.outbox)")
    relayed(admin, world.broker)
    execute(admin, "update eventkit.installation set timeline = timeline + 1")
    projected(url, world.broker, totals())
    with Sender(open_transport(world.broker), shop) as sender:
        sender.send(shop.stream("order", 9), Ordered("ann", 1))
        sender.send(shop.stream("order", 9), Left("ann"))
    projected(url, world.broker, acting("order"))
    projected(url, None, following())
    execute(
        admin, "delete from eventkit.groups; insert into eventkit.groups values ('gone', 'local', 'gone', '{}', now())"
    )
    projected(url, world.broker, acting("order"))
    with psycopg.connect(admin) as service:
        Deadlines(store).set(service, shop.stream("order", 10), Ordered("ann", 4), timedelta(0))
    TimerWorker(
        lambda name: connect(url, name=name, autocommit=True, options=SESSION), schema="eventkit", owner="t"
    ).fire()
    _places(url)
    execute(admin, ASKED, "grant all on asked to public")
    open_transport(world.broker).create_topics(["pricing.price", "shop.replies"], partitions=1)
    with (
        working(url, world.broker),
        Requester(open_transport(world.broker), pricing, replies="shop.replies") as requester,
    ):
        requester.request(pricing.stream("price", "tea"), GetPrice("tea"), Price, timeout=60)


def _places(url: str) -> None:
    """Use the offsets in the database, where the broker has offsets."""
    places, mark = BrokerPlaces("eventkit"), ("shop.order", 0, "id", (1,))
    with psycopg.connect(url) as session:
        places.begin(session, "totals", [mark])
        places.save(session, "totals", [mark])
        places.known(session, "totals", ["shop.order"])
        places.forget(session, "totals")


def following() -> Handlers:
    """Return handlers with all that a service does in a transaction: appends, tags, people, deadlines, decisions."""
    handlers = Handlers("following", shop, categories=["order"])

    @handlers.on(Ordered)
    def ordered(connection: Connection, event: Ordered) -> None:
        del event
        place = uuid.uuid4().hex
        store.append(connection, shop.stream("note", place), Left("ann"), tags=["customer:ann"])
        seen = store.query(connection, QueryItem(["customer:ann"]))
        store.append(connection, shop.stream("note", place), Left("ann"), unless_changed=seen)
        people.append(connection, crm.stream("customer", place), REGISTERED)
        Deadlines(store).set(connection, shop.stream("note", place), Ordered("ann", 5), timedelta(hours=1))
        Deadlines(store).cancel(connection, shop.stream("note", place), Ordered)
        courses.subscribe(connection, "c1", place, place=place)
        for student in ("s1", "s2"):
            decided = courses.school.stream("subscription", f"{place}.{student}")
            model = decisions.load(connection, "c1")
            decisions.append(connection, model, decided, courses.Subscribed("c1", student))
        for _ in range(2):
            with customers().change(connection, crm.stream("customer", place)) as customer:
                customer.decide(1)

    return handlers


def operator(world: World) -> None:
    """Everything that `eventkit` does to letters, projections, inboxes, keys and old events."""
    admin = world.installation.url
    for key in (1, 2, 3):
        world.append(Ordered("ann", 1), Ordered("ann", -3), Ordered("ann", 3), key=key)
    world.append(Ordered("ann", 1), key="old")
    with psycopg.connect(admin) as service:
        people.append(service, ADA, REGISTERED)
    projected(admin, None, totals())
    park(admin, "order-1")
    archive = str(world.folder / "archive")
    run = partial(world.command, "operator")
    letters = [str(row[0]) for row in found(admin, "select id from eventkit.dead_letters order by parked_by, id")]
    for look in LOOKS:
        run(*look)
    run("projection", "status", "totals")
    run("projection", "verify", "totals")
    for action in ("pause", "resume"):
        run("projection", action, "totals")
        run("relay", action, "shop.order")
    for number in ("2", "1"):
        assert "part" in run("relay", "parts", number)
    run("doctor")
    run("dead-letters", "show", letters[0])
    run("dead-letters", "redrive", "--all", "--yes", "--wait", "0")
    data = world.folder / "data.json"
    data.write_text('{"customer": "ann", "amount": 1}')
    park(admin, "order-2")
    (relays,) = found(admin, "select id from eventkit.dead_letters where parked_by = 'relay'")
    run("dead-letters", "edit", str(relays[0]), "--data", str(data))
    park(admin, "order-3")
    run("dead-letters", "edit", letters[0], "--data", str(data))
    run("dead-letters", "discard", "--all", "--yes")
    group = name_of("operator", world.installation.prefix)
    execute(admin, f"grant create on schema public to {group}", f"alter table totals owner to {group}")
    owning = f"{world.members['operator']}&options=-c%20role%3D{group}"
    run("projection", "rebuild", "tests.projection.read_models:totals", "--workers", "1", "--accept-parked", url=owning)
    execute(admin, "delete from eventkit.outbox")
    run("events", "archive", "order-old", "--to", archive, "--yes")
    run("events", "restore", archive)
    run("privacy", "forget", "ann", "--yes")
    run("events", "prune", "--sent", "--older-than", "0s", "--yes")
    run("inbox", "prune", "--older-than", "0s")
    run("projection", "delete", "totals", "--yes")
    run("db", "adopt", "--clone")


def reader(world: World) -> None:
    """Lists and verifies."""
    world.append(Ordered("ann", 1), Ordered("ann", -3), key=1)
    projected(world.installation.url, None, totals())
    for look in LOOKS:
        world.command("reader", *look)
    world.command("reader", "projection", "status", "totals")
    world.command("reader", "projection", "verify", "totals")
    world.command("reader", "doctor")
    world.command("reader", "dead-letters", "show", "1", "--payload")


def park(url: str, stream: str) -> None:
    """Let a relay have parked the last event of a stream."""
    execute(
        url,
        "insert into eventkit.dead_letters (parked_by, stream, version, position, event_id, type, cause, error,"
        " attempts) select 'relay', stream, version, position, id, type, 'refused', 'too large', 1 from eventkit.events"
        f" where stream = '{stream}' order by version desc limit 1",
    )


WORKLOADS: dict[str, Callable[[World], None]] = {
    "writer": writer,
    "relay": relay,
    "projector": projector,
    "operator": operator,
    "reader": reader,
}
