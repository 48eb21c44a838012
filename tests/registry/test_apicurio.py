"""`eventkit catalog register` and `check`, and ids on the wire, with Apicurio Registry and Apache Kafka."""

import json
import uuid
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Message

from eventkit import Catalog, EventStore
from eventkit.cli import main
from eventkit.domain.catalog import describe
from eventkit.domain.message import event_of
from eventkit.domain.schema_frame import HEADER, frame_of_id
from eventkit.registry import PlannedSchema, SchemaRegistry, SubjectNames, planned_schemas, schema_changes
from eventkit.transports import open_transport
from examples.schema_registry import events
from tests.registry import releases
from tests.relay.conftest import read_along
from tests.relay.process import RelayProcess
from tests.servers.apicurio import ApicurioServer
from tests.servers.kafka import KafkaServer
from tests.transports.traffic import read
from tests.waiting import wait_until

FIRST, NOTED, WEIGHED = (f"tests.registry.releases:{name}" for name in ("first", "noted", "weighed"))


def run(registry: ApicurioServer, *words: str) -> Result:
    """Run a command of the catalog against the registry."""
    return CliRunner().invoke(main, ["catalog", *words, "--registry", registry.url])


def level(registry: ApicurioServer, subject: str, wanted: str) -> None:
    """Set the compatibility level of a subject."""
    answer = httpx.put(f"{registry.url}/config/{subject}", json={"compatibility": wanted}, timeout=60)
    assert answer.status_code == 200, answer.text


def renamed(release: Catalog) -> Catalog:
    """Return a release as that of another service, which nothing is registered of."""
    [kind] = release.types
    return releases.release(kind.cls, name=f"depot{uuid.uuid4().hex[:8]}")


def plan(release: Catalog) -> list[PlannedSchema]:
    """Return the schemas of a release."""
    return planned_schemas(describe(release), SubjectNames.RECORD)


def test_a_release_is_registered_once_and_its_changes_are_named(apicurio: ApicurioServer) -> None:
    """Under a level; a check before it says the field and who would not read it, as text, JSON and annotations."""
    registered, again = run(apicurio, "register", FIRST, "--json"), run(apicurio, "register", FIRST)
    level(apicurio, "depot.Stored", "FULL")
    found, refused = run(apicurio, "check", WEIGHED), run(apicurio, "register", WEIGHED)
    shown, script = run(apicurio, "check", WEIGHED, "--format", "github"), run(apicurio, "check", WEIGHED, "--json")

    number = json.loads(registered.stdout)["registered"]["depot.Stored"]
    assert (again.exit_code, again.stdout) == (0, f"depot.Stored: id {number}\n")
    assert [each.exit_code for each in (found, refused, shown, script)] == [1] * 4
    expected = f"depot.Stored is FULL, and field 'weight' is required, but may be missing (version 1, id {number})"
    assert found.stdout == f"new consumers cannot read old events: {expected}\n"
    assert refused.stdout == f"{found.stdout}nothing is registered\n"
    assert shown.stdout.startswith("::error file=tests/registry/releases.py,line=")
    assert shown.stdout.endswith(f"title=new consumers cannot read old events::{expected}\n")
    [change] = json.loads(script.stdout)["registry"]
    assert (change["type"], change["version"], change["id"]) == ("Stored", 1, number)
    assert run(apicurio, "check", FIRST).exit_code == 0


RULES: list[tuple[str, Catalog, Catalog, set[str]]] = [
    ("NONE", releases.first, releases.renamed, set()),
    ("FORWARD", releases.first, releases.weighed, set()),
    ("BACKWARD", releases.first, releases.weighed, {"new consumers cannot read old events"}),
    ("BACKWARD", releases.weighed, releases.first, set()),
    ("FORWARD", releases.weighed, releases.first, {"old consumers cannot read new events"}),
    ("BACKWARD", releases.first, releases.renamed, {"new consumers cannot read old events"}),
    ("FORWARD", releases.first, releases.renamed, {"old consumers cannot read new events"}),
    ("FULL", releases.first, releases.renamed,
     {"old consumers cannot read new events", "new consumers cannot read old events"}),
    ("BACKWARD", releases.first, releases.noted, {"new consumers cannot read old events"}),  # the registry's own rule
]  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "old", "new", "broken"), RULES, ids=[f"{number}-{rule[0]}" for number, rule in enumerate(RULES)]
)
def test_a_level_decides_who_must_be_able_to_read(
    apicurio: ApicurioServer, wanted: str, old: Catalog, new: Catalog, broken: set[str]
) -> None:
    """The comparison says what the registry says, at each level."""
    registry = SchemaRegistry(apicurio.url)
    before = renamed(old)
    [first] = plan(before)
    registry.register(first.subject, first.text)
    level(apicurio, first.subject, wanted)
    [kind] = new.types
    [planned] = plan(releases.release(kind.cls, name=before.name))

    found = schema_changes(registry, [planned])

    assert {change.broken for change in found} == broken
    assert registry.is_compatible(planned.subject, planned.text, level=wanted) == (not broken)
    registry.close()


def test_a_transitive_level_compares_with_every_version(apicurio: ApicurioServer) -> None:
    """The first one breaks, the newest one does not."""
    registry = SchemaRegistry(apicurio.url)
    catalog = renamed(releases.first)
    versions = [plan(releases.release(cls, name=catalog.name))[0] for cls in (releases.Stored, releases.Weighed)]
    for each in versions:
        registry.register(each.subject, each.text)
    again = plan(releases.release(releases.Weighed, name=catalog.name, version=2))
    assert again[0].text not in {each.text for each in versions}

    level(apicurio, versions[0].subject, "BACKWARD")
    newest = schema_changes(registry, again)
    level(apicurio, versions[0].subject, "BACKWARD_TRANSITIVE")
    every = schema_changes(registry, again)

    assert newest == []
    assert [(change.version, change.problem) for change in every] == [
        (1, "field 'weight' is required, but may be missing")
    ]
    registry.close()


class Depot:
    """A service with a topic of its own, and its relay, which names schemas."""

    def __init__(self, database_url: str, kafka: KafkaServer, registry: ApicurioServer) -> None:
        self.catalog = Catalog(f"depot{uuid.uuid4().hex[:8]}")
        self.catalog.event(releases.Stored)
        self.topic = f"{self.catalog.name}.box"
        self._database_url = database_url
        self._registry = registry
        kafka.create_topic(self.topic)

    def register(self) -> int:
        """Register the schema; return its id."""
        client = SchemaRegistry(self._registry.url)
        [planned] = plan(self.catalog)
        number = client.register(planned.subject, planned.text)
        client.close()
        return number

    def append(self, *items: str) -> None:
        """Append events to one stream."""
        with psycopg.connect(self._database_url) as connection:
            EventStore(self.catalog).append(connection, "box-1", *[releases.Stored(item, 1) for item in items])

    def held(self) -> str:
        """Return the reason why the topic is held."""
        with psycopg.connect(self._database_url) as connection:
            row = connection.execute(
                "select reason from eventkit.held_topics where topic = %s", [self.topic]
            ).fetchone()
        return str(row[0]) if row else ""


def headers_of(message: Message) -> dict[str, bytes]:
    """Return the headers of a message of Kafka's client."""
    headers: Any = message.headers()
    return dict(headers)


@pytest.fixture
def depot(database_url: str, kafka: KafkaServer, apicurio: ApicurioServer) -> Depot:
    """A service that has appended nothing."""
    return Depot(database_url, kafka, apicurio)


@pytest.fixture
def relay(
    request: pytest.FixtureRequest,
    database_url: str,
    kafka: KafkaServer,
    apicurio: ApicurioServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[RelayProcess]:
    """A relay that is to be started; the parameter is the form of the ids."""
    monkeypatch.setenv("EVENTKIT_REGISTRY_URL", apicurio.url)
    monkeypatch.setenv("EVENTKIT_SCHEMA_ID", request.param)
    process = RelayProcess(database_url, kafka.url, tmp_path / "relay.log")
    yield process
    if process.running:
        process.kill()


@pytest.mark.parametrize("relay", ["header"], indirect=True)
def test_a_type_without_a_schema_holds_its_topic_until_it_is_registered(
    depot: Depot, relay: RelayProcess, kafka: KafkaServer, apicurio: ApicurioServer
) -> None:
    """Nothing is parked or lost; then Confluent's deserializer reads the id from the header, and so do our readers."""
    depot.append("a", "b")
    relay.start()
    reason = wait_until(depot.held, what="the topic to be held")
    number = depot.register()
    found = list(islice(events(kafka.bootstrap, depot.topic, apicurio.url), 2))

    assert f"'Stored' of '{depot.catalog.name}', version 1, is not registered as subject" in reason
    assert "run `eventkit catalog register`" in reason
    assert [(data["item"], message.key()) for message, data in found] == [("a", b"box-1"), ("b", b"box-1")]
    headers = headers_of(found[0][0])
    assert headers[HEADER] == frame_of_id(number)
    assert httpx.get(headers["ce_dataschema"].decode(), timeout=60).json()["title"] == f"{depot.catalog.name}.Stored"
    with read_along(kafka.url, depot.topic) as ours:
        assert ours.has(2) == [("box-1", 1), ("box-1", 2)]


@pytest.mark.parametrize("relay", ["payload"], indirect=True)
def test_known_types_are_sent_while_the_registry_is_away(
    depot: Depot, relay: RelayProcess, kafka: KafkaServer, apicurio: ApicurioServer
) -> None:
    """Also after a new start of the relay; Confluent's deserializer reads the id before the value."""
    number = depot.register()
    depot.append("a")
    relay.start()
    reading = events(kafka.bootstrap, depot.topic, apicurio.url)
    found = [next(reading)]
    relay.kill()
    apicurio.pause()
    try:
        depot.append("b")
        relay.start()
        found.append(next(reading))
    finally:
        apicurio.resume()

    assert [data["item"] for _, data in found] == ["a", "b"]
    headers = headers_of(found[1][0])
    assert headers["content-type"] == b"application/octet-stream"
    assert headers["ce_dataschema"].decode() == f"{apicurio.url}/schemas/ids/{number}/schema"
    with psycopg.connect(depot._database_url) as connection, closing(open_transport(kafka.url)) as transport:
        subscription = transport.subscribe([depot.topic], "ours")
        ours = [event_of(message) for message in read(subscription, 2)]
        subscription.close()
        assert [depot.catalog.decode(event).event.item for event in ours] == ["a", "b"]
        assert connection.execute("select count(*) from eventkit.dead_letters").fetchone() == (0,)
