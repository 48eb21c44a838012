"""Three canaries, a password, an event's data and a person's, and signs that move a cursor: looked for everywhere.

A service, a relay, projectors, messages of strangers and every command leave logs, errors, tables and output behind.
Event data may be in the columns that hold events, and where an operator asks for it with `--payload`, nowhere else.
The suite runs it on Redis; `python -m tests.hostile.everywhere` on every broker.
"""

import datetime as dt
import os
import secrets
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest
from click.testing import CliRunner
from psycopg import sql
from sqlalchemy.engine import make_url

from eventkit import EventStore
from eventkit.cli import main
from eventkit.domain.master_keys import MasterKeys
from eventkit.errors import TransportError
from eventkit.transports import open_transport
from tests.hostile.foreign import Foreign, sender
from tests.hostile.kinds import event as foreign
from tests.privacy.people import CREATE
from tests.process import EventkitProcess
from tests.projection.shop import Ordered, shop
from tests.servers.postgres import PostgresServer, by_tcp
from tests.storage.people import Address, Registered, crm
from tests.storage.people import Ordered as Delivered
from tests.transports.secured import BROKERS as SECURED
from tests.transports.secured import PASSWORD, USER
from tests.waiting import wait_until

BROKERS = "EVENTKIT_TEST_CANARY_BROKERS"  # names by commas
CODE = secrets.token_hex(4)
SECRET, PAYLOAD, PERSON = f"hush-{CODE}", f"payload-{CODE}", f"ada-{CODE}"
SIGNS = "\x1b[31m\x07"
MARKED, STRANGE = f"{PAYLOAD}{SIGNS}", f"strange{SIGNS}"
# The places of the data of events, and of strangers' messages. `event` has the fields of an entry of another form: any
# of them may be its data.
HOLD_EVENTS = {
    ("events", "data"),
    *(("dead_letters", column) for column in ("data", "detail", "event")),
    *(("dead_letter_actions", column) for column in ("data", "new_data", "detail")),
}
UNREACHABLE = (
    "kafka://u:{}@127.0.0.1:1", "rabbitmq://u:{}@127.0.0.1:1", "redis://u:{}@127.0.0.1:1",
    "activemq://u:{}@127.0.0.1:1", "kafka://u:{}@127.0.0.1:x", "redis://u:{}", "{}://h", "rediss://u:{}@127.0.0.1:1",
)  # fmt: skip

PROJECTORS = {"telling": ["telling", "later"], "json": ["failing"], "plans": ["plans"]}  # that join a group, by log
OWN = 8  # events of the service that `telling` and `later` read
HANDLED = 2  # of the strangers' unreadable messages: they have the type of a handler, so `later` tries or holds them
FATES = """
with streams as (
  select p.name, count(*) as known from eventkit.projections p join eventkit.checkpoints c using (generation) group by 1
), waiting as (
  select projection as name, sum(streams) as streams from eventkit.handler_waits group by 1
), kept as (
  select split_part(parked_by, ':', 2) as name, count(*) filter (where cause = 'malformed') as malformed
    from eventkit.dead_letters group by 1
)
select name, malformed, known + coalesce(streams, 0) from streams join kept using (name) left join waiting using (name)
 where name in ('telling', 'later') order by name"""

COMMANDS = """doctor
doctor --json
projection list
projection status telling
projection status later
projection verify telling
dead-letters list
dead-letters list --json
dead-letters list --json --payload
dead-letters edit {first} --data {data}
dead-letters redrive --all --yes --wait 0
dead-letters discard {last} --yes
dead-letters log
dead-letters log --json --payload
events sizes
events prune --sent --older-than 0s --dry-run
events archive order-7 --to {archive} --yes
inbox prune --older-than 0s
privacy status
privacy forget customer-42 --yes
timers list
topics check shop.order
db verify
db current
projection rebuild tests.hostile.telling:telling --accept-parked
projection delete telling --yes"""


class Reached(NamedTuple):
    """A broker: its address with a password and the client's options, and the address that strangers use."""

    url: str
    options: dict[str, str]
    strangers: str


class Place(NamedTuple):
    """A service's database and broker, both reached with a password, the keys of its people, and its processes."""

    admin: str
    url: str
    broker: Reached
    keys: str
    processes: ExitStack  # ends each of them, also where the test has failed

    @property
    def environment(self) -> dict[str, str]:
        """The settings of its processes."""
        options = {f"EVENTKIT_TRANSPORT_OPTION_{name}": value for name, value in self.broker.options.items()}
        return {
            "EVENTKIT_DATABASE_URL": self.url,
            "EVENTKIT_TRANSPORT_URL": self.broker.url,
            "EVENTKIT_MASTER_KEYS": self.keys,
            **options,
        }


@pytest.fixture(params=os.environ.get(BROKERS, "redis").split(","))
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reached]:
    """A broker that asks for a password; Redis is the session's, with a user of the test's own."""
    if request.param != "redis":
        secured = SECURED[request.param](tmp_path_factory.mktemp("secured"))
        secured.server.start()
        login = f"{USER}:{PASSWORD}@" if request.param == "rabbitmq" else ""  # the others have a port without one
        yield Reached(secured.url(), secured.options, secured.server.url.replace("://", f"://{login}"))
        secured.server.stop()
        return
    redis = request.getfixturevalue("redis")
    user = f"canary_{CODE}"
    with redis.client() as client:
        client.execute_command("ACL", "SETUSER", user, "on", f">{SECRET}", "~*", "&*", "+@all")
    address = make_url(redis.url).set(username=user, password=SECRET).render_as_string(hide_password=False)
    yield Reached(address, {}, address)
    with redis.client() as client:
        client.execute_command("ACL", "DELUSER", user)


@pytest.fixture
def place(
    postgres: PostgresServer, database_url: str, broker: Reached, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    """A role of the test's own at PostgreSQL."""
    role = f"canary_{CODE}"
    with psycopg.connect(database_url, autocommit=True) as session:
        session.execute(
            sql.SQL("create role {} superuser login password {}").format(sql.Identifier(role), sql.Literal(SECRET))
        )
        session.execute(CREATE.encode())
    by_network = make_url(by_tcp(database_url)).set(username=role, password=SECRET)
    url, keys = by_network.render_as_string(hide_password=False), MasterKeys.generate("k1")
    with ExitStack() as processes:
        found = Place(database_url, url, broker, keys, processes)
        for name, value in found.environment.items():
            monkeypatch.setenv(name, value)
        yield found
    postgres.drop(database_url)
    with psycopg.connect(postgres.url, autocommit=True) as session:
        session.execute(sql.SQL("drop role {}").format(sql.Identifier(role)))


def test_no_canary_is_where_it_should_not_be(place: Place, tmp_path: Path) -> None:
    """Not in a log, as text or as JSON, not in an error, not in a table beside the events, not in any output."""
    topics = ["shop.order", "crm.customer", "crm.order"]
    with closing(open_transport(place.broker.url, place.broker.options)) as transport:
        transport.create_topics(topics, partitions=1)
        for topic in topics:
            with suppress(TransportError):  # ActiveMQ cannot, and each test has one of its own
                transport.release(topic)  # another test's installation may have claimed it
    happen(place)
    processes = [
        process(place, tmp_path / "relay", "relay", "run"),
        process(place, tmp_path / "relay.json", "--log-format", "json", "relay", "run"),
        process(
            place,
            tmp_path / "telling",
            "--log-level",
            "debug",
            "projector",
            "run",
            "tests.hostile.telling:telling",
            "tests.hostile.telling:later",
        ),
        process(place, tmp_path / "json", "--log-format", "json", "projector", "run", "tests.privacy.people:failing"),
        process(
            place,
            tmp_path / "plans",
            "projector",
            "run",
            "tests.privacy.people:plans",
            "tests.projection.read_models:noted",
        ),
    ]
    wait_until(lambda: have_joined(tmp_path), timeout=200, what="each group, without which some brokers keep nothing")
    unreadable = strangers_write(place)
    wait_until(lambda: has_told(place, unreadable), timeout=200, what="the fate of each message in two projections")
    wait_until(lambda: value(place, "select count(*) from eventkit.outbox") == 0, timeout=200, what="the relay")
    shown = [*commands(place, tmp_path), *errors()]
    for each in processes:
        each.terminate()

    logs = [log for log in tmp_path.iterdir() if log.name not in ("data.json", "archive")]
    shown += [(log.name, log.read_text()) for log in logs]
    never = SECRET, PASSWORD, PERSON, "\x1b", "\x07"
    wrong = [(what, _around(text, canary)) for what, text in shown for canary in never if canary in text]
    wrong += [(what, _around(text, PAYLOAD)) for what, text in shown if PAYLOAD in text and "--payload" not in what]
    assert not wrong, "\n".join(map(repr, sorted(set(wrong))))
    assert any(PAYLOAD in text for what, text in shown if "--payload" in what)
    assert held(place) <= HOLD_EVENTS


def _around(text: str, canary: str) -> str:
    at = text.index(canary)
    return text[max(0, at - 150) : at + 60]


def happen(place: Place) -> None:
    """Append people's events."""
    people = EventStore(crm, master_keys=MasterKeys.parse(place.keys))
    with psycopg.connect(place.admin) as service:
        for amount in range(8):
            EventStore(shop).append(service, shop.stream("order", amount), Ordered(MARKED, amount))
        people.append(service, crm.stream("customer", 42), Registered(PERSON, dt.date(1815, 12, 10), phone=PERSON))
        people.append(service, crm.stream("order", 1), Delivered(42, Address(PERSON, PERSON), 5))


def have_joined(folder: Path) -> bool:
    """Return whether each projector has joined its group, as its log says."""
    logs = {log: (folder / log).read_text() for log in PROJECTORS}
    return all(f"projector {name} reads " in logs[log] for log, names in PROJECTORS.items() for name in names)


def has_told(place: Place, unreadable: int) -> bool:
    """Whether two projections have each message: it is malformed, or its stream is known or waits.

    An event waits without a letter while its handler's breaker is open, as those of `later` do: it is not decoded yet.
    Other tests may write to the topic of a shared broker, so a projection may have more.
    """
    streams = OWN + HANDLED + 1  # one is an event of an unknown type
    with psycopg.connect(place.admin) as session:
        found = session.execute(FATES.encode()).fetchall()
    return [name for name, malformed, known in found if malformed >= unreadable - HANDLED and known >= streams] == [
        "later",
        "telling",
    ]


def strangers_write(place: Place) -> int:
    """Let strangers write to a topic; return how many of their messages no projection can read."""
    messages = [
        foreign(f"order-{uuid.uuid4()}", value=MARKED.encode()),
        foreign(f"order-{uuid.uuid4()}", ce_type=STRANGE),
        foreign(f"order-{uuid.uuid4()}", ce_time=STRANGE),
        foreign(f"order-{uuid.uuid4()}", version=STRANGE),
        foreign(STRANGE),
        Foreign(STRANGE, MARKED.encode(), [(STRANGE, STRANGE)]),
        *([Foreign(own={STRANGE: MARKED})] if place.broker.strangers.startswith(("redis", "activemq")) else []),
    ]
    sender(place.broker.strangers)("shop.order", messages)
    return len(messages) - 1  # an event of an unknown type is passed over


def commands(place: Place, folder: Path) -> Iterator[tuple[str, str]]:
    """Run the operators' commands; return the words and all of the output."""
    data = folder / "data.json"
    data.write_text(f'{{"customer": "{PAYLOAD}"')
    ids = [str(row[0]) for row in rows(place, "select id from eventkit.dead_letters order by id")]
    shown = [f"dead-letters show {each}{payload}" for each in ids for payload in ("", " --payload")]
    text = COMMANDS.format(first=ids[0], last=ids[-1], data=data, archive=folder / "archive")
    lines = [line.split() for line in [*shown, *text.splitlines()]]
    for words in lines:
        for form in ("text", "json"):
            done = CliRunner().invoke(main, ["--log-format", form, *words])
            yield f"{form} {' '.join(words)}", f"{done.output}{done.exception!r}"


def errors() -> Iterator[tuple[str, str]]:
    """Run commands that cannot reach, or cannot read, the address that they are given."""
    for template in UNREACHABLE:
        url = template.format(SECRET)
        done = CliRunner().invoke(main, ["topics", "check", "shop.order"], env={"EVENTKIT_TRANSPORT_URL": url})
        yield template, f"{done.output}{done.exception!r}"
    for template in ("postgresql://u:{}@127.0.0.1:1/x", "postgresql://u:{}@127.0.0.1:x/y", "{}", "mysql://u:{}@h/d"):
        url = template.format(SECRET)
        done = CliRunner().invoke(main, ["db", "current"], env={"EVENTKIT_DATABASE_URL": url})
        yield template, f"{done.output}{done.exception!r}"


def process(place: Place, log: Path, *words: str) -> EventkitProcess:
    """Start a process."""
    started = EventkitProcess(place.url, place.broker.url, log, *words, options=place.broker.options)
    return place.processes.enter_context(started)


def held(place: Place) -> set[tuple[str, str]]:
    """Return the columns of our tables that have a canary; of the secret's and the person's there must be none."""
    found = set()
    with psycopg.connect(place.admin) as session:
        columns = session.execute(
            "select table_name, column_name from information_schema.columns where table_schema = 'eventkit'"
        ).fetchall()
        for table, column in columns:
            text = sql.SQL("select string_agg(coalesce({}::text, ''), ' ') from eventkit.{}")
            row = session.execute(text.format(sql.Identifier(column), sql.Identifier(table))).fetchone()
            content = str(row[0]) if row else ""
            binary = content.replace("\\x", "").split() if content.startswith("\\x") else []
            content += bytes.fromhex("".join(binary)).decode(errors="replace")
            if any(canary in content for canary in (SECRET, PASSWORD, PERSON)):
                found.add((table, "secret"))
            if PAYLOAD in content:
                found.add((table, column))
    return found


def letters(place: Place) -> int:
    """Return how many dead letters there are."""
    return int(str(value(place, "select count(*) from eventkit.dead_letters")))


def value(place: Place, statement: str) -> object:
    """Return one value."""
    return rows(place, statement)[0][0]


def rows(place: Place, statement: str) -> list[tuple[object, ...]]:
    """Return the rows of a query."""
    with psycopg.connect(place.admin) as session:
        return session.execute(statement.encode()).fetchall()
