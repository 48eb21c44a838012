"""PostgreSQL and the broker for one run: embedded ones, a broker of the machine's, or those that the environment names.

`EVENTKIT_DATABASE_URL` and `EVENTKIT_TRANSPORT_URL` name servers of yours. There the run gets PostgreSQL schemas,
topics and consumer groups of its own, and takes them away again.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from sqlalchemy import create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.schema import CreateSchema, DropSchema

from eventkit import load_settings
from eventkit.embedded.kafka import NOTICE, EmbeddedKafka
from eventkit.embedded.postgres import EmbeddedPostgres
from eventkit.errors import ConfigurationError
from eventkit.storage.migrate import upgrade
from eventkit.transports.base import open_transport
from examples.flights.events import RUN, flights
from examples.flights.read_models import ReadModel
from examples.flights.service import ServiceTable

EMBEDDED = "embedded"
# After which a killed projector's work goes to the next: Kafka takes no less than 6 s, the embedded broker any.
# RabbitMQ and ActiveMQ see a killed member's connection end.
_TIMEOUTS = {
    EMBEDDED: {"session_timeout_ms": "2000", "heartbeat_interval_ms": "500"},
    "kafka": {"session_timeout_ms": "6000", "heartbeat_interval_ms": "500"},
    "redis": {"session_timeout": "2"},
}


CHECKER = f"{RUN}_checker"  # the group that reads the whole topic along


@dataclass(frozen=True)
class Servers:
    """Where the run takes place."""

    database_url: str
    database: str  # for the screen
    schema: str  # eventkit's
    transport_url: str
    transport_options: dict[str, str]
    transport: str  # for the screen
    topic: str
    process_options: Mapping[str, str]  # of the transport, for the processes that may be killed

    @property
    def sqlalchemy_url(self) -> str:
        """The database's URL in SQLAlchemy's form, for any release of psycopg 3."""
        return make_url(self.database_url).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)

    @property
    def psycopg_url(self) -> str:
        """The database as psycopg wants it."""
        return make_url(self.database_url).set(drivername="postgresql").render_as_string(hide_password=False)

    @property
    def environment(self) -> dict[str, str]:
        """The settings for `eventkit relay run` and `eventkit projector run`."""
        return {
            "EVENTKIT_DATABASE_URL": self.database_url,
            "EVENTKIT_TRANSPORT_URL": self.transport_url,
            "EVENTKIT_SCHEMA": self.schema,
            "FLIGHTS_RUN": RUN,
        }


@contextmanager
def servers(*, partitions: int, broker: str = EMBEDDED) -> Iterator[Servers]:
    """Start or find the servers, and make the run's tables and topic; take all of it away at the end."""
    settings = load_settings()
    topic = flights.topic(flights.stream("flight", "any"))
    with ExitStack() as stack:
        database_url, database = _database(stack)
        transport_url, transport = _broker(stack, broker, topic, partitions)
        kind = EMBEDDED if transport.endswith(f"({NOTICE})") else urlsplit(transport_url).scheme.removesuffix("s")
        found = Servers(
            database_url=database_url,
            database=database,
            schema=settings.schema,
            transport_url=transport_url,
            transport_options=dict(settings.transport_options),
            transport=transport,
            topic=topic,
            process_options=_TIMEOUTS.get(kind, {}),
        )
        stack.enter_context(_tables(found))
        yield found


def _database(stack: ExitStack) -> tuple[str, str]:
    given = os.environ.get("EVENTKIT_DATABASE_URL")
    if given:
        return given, make_url(given).render_as_string()
    postgres = stack.enter_context(EmbeddedPostgres())
    return postgres.url, f"embedded PostgreSQL {postgres.version}"


def _broker(stack: ExitStack, kind: str, topic: str, partitions: int) -> tuple[str, str]:
    given = os.environ.get("EVENTKIT_TRANSPORT_URL")
    if given:
        stack.enter_context(_topic(given, topic, partitions))
        return given, given.split("@")[-1]
    if kind != EMBEDDED:
        return _installed(stack, kind, topic, partitions)
    broker = stack.enter_context(EmbeddedKafka())
    broker.create_topic(topic, partitions)
    return broker.url, f"Kafka's protocol ({NOTICE})"


def _installed(stack: ExitStack, kind: str, topic: str, partitions: int) -> tuple[str, str]:
    """Start a broker that is installed on this machine, as the tests do."""
    from tests.servers import ServerMissing, start  # noqa: PLC0415  only a checkout has them

    try:
        server = start(kind)
    except ServerMissing as missing:
        raise ConfigurationError(str(missing)) from missing
    stack.callback(server.stop)
    stack.enter_context(_topic(server.url, topic, partitions))
    return server.url, f"{kind} {server.version}"


@contextmanager
def _topic(url: str, topic: str, partitions: int) -> Iterator[None]:
    """Make a topic on a broker that stays, and remove it in the end."""
    transport = open_transport(url, load_settings().transport_options)
    transport.create_topics([topic], partitions=partitions)
    transport.subscribe(
        [topic], CHECKER
    ).close()  # its place, also where a broker keeps nothing for those who come later
    transport.close()
    try:
        yield
    finally:
        _forget(url, topic)


def _forget(url: str, topic: str) -> None:
    """Remove the run's topic and consumer groups from a Kafka that stays."""
    from confluent_kafka.admin import AdminClient  # noqa: PLC0415  # only for a real Kafka

    if not url.startswith("kafka://"):
        return
    quiet = {"log_level": 3}  # its client says at its end that it has ended
    admin = AdminClient(
        {"bootstrap.servers": url.removeprefix("kafka://"), **quiet, **load_settings().transport_options}
    )
    listed = admin.list_consumer_groups().result(10).valid
    groups = [group.group_id for group in listed if group.group_id.startswith(RUN)]
    pending = admin.delete_consumer_groups(groups) if groups else {}
    for done in [*pending.values(), *admin.delete_topics([topic]).values()]:
        done.exception(timeout=10)


@contextmanager
def _tables(place: Servers) -> Iterator[None]:
    """Make eventkit's tables, the service's and the read models'; remove them in the end."""
    engine = create_engine(place.sqlalchemy_url)
    try:
        with engine.begin() as connection:
            connection.execute(CreateSchema(RUN))
        upgrade(place.database_url, place.schema)
        ServiceTable.metadata.create_all(engine)
        ReadModel.metadata.create_all(engine)
        yield
    finally:
        with engine.begin() as connection:
            for schema in (RUN, place.schema):
                connection.execute(DropSchema(schema, cascade=True, if_exists=True))
        engine.dispose()
