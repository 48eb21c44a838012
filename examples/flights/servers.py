"""PostgreSQL and the broker for one run: embedded ones, or those that the environment names.

`EVENTKIT_DATABASE_URL` and `EVENTKIT_TRANSPORT_URL` name servers of yours. There the run gets PostgreSQL schemas,
topics and consumer groups of its own, and takes them away again.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from sqlalchemy import create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.schema import CreateSchema, DropSchema

from eventkit.config import load
from eventkit.embedded.kafka import NOTICE, EmbeddedKafka
from eventkit.embedded.postgres import EmbeddedPostgres
from eventkit.storage.migrate import upgrade
from eventkit.transports.base import open_transport
from examples.flights.events import RUN, flights
from examples.flights.read_models import ReadModel, projections
from examples.flights.service import ServiceTable


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

    @property
    def sqlalchemy_url(self) -> str:
        """The database as SQLAlchemy wants it, for psycopg 3 whatever its release."""
        return make_url(self.database_url).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)

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
def servers(*, partitions: int) -> Iterator[Servers]:
    """Start or find the servers, and make the run's tables and topic; take all of it away at the end."""
    with ExitStack() as stack:
        database_url, database = _database(stack)
        transport_url, transport = _broker(stack)
        settings = load()
        found = Servers(
            database_url=database_url,
            database=database,
            schema=settings.schema,
            transport_url=transport_url,
            transport_options=dict(settings.transport_options),
            transport=transport,
            topic=flights.topic(flights.stream("flight", "any")),
        )
        stack.enter_context(_tables(found))
        stack.enter_context(_topic(found, partitions))
        yield found


def _database(stack: ExitStack) -> tuple[str, str]:
    given = os.environ.get("EVENTKIT_DATABASE_URL")
    if given:
        return given, make_url(given).render_as_string()
    postgres = stack.enter_context(EmbeddedPostgres())
    return postgres.url, f"embedded PostgreSQL {postgres.version}"


def _broker(stack: ExitStack) -> tuple[str, str]:
    given = os.environ.get("EVENTKIT_TRANSPORT_URL")
    if given:
        return given, given.split("@")[-1]
    return stack.enter_context(EmbeddedKafka()).url, f"Kafka's protocol ({NOTICE})"


@contextmanager
def _tables(place: Servers) -> Iterator[None]:
    """Make eventkit's tables, the service's and the read models'."""
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


@contextmanager
def _topic(place: Servers, partitions: int) -> Iterator[None]:
    transport = open_transport(place.transport_url, place.transport_options)
    transport.create_topics([place.topic], partitions=partitions)
    transport.close()
    try:
        yield
    finally:
        if os.environ.get("EVENTKIT_TRANSPORT_URL"):
            _forget(place)


def _forget(place: Servers) -> None:
    """Remove the run's topic and groups from a Kafka that stays."""
    from confluent_kafka.admin import AdminClient  # noqa: PLC0415  # only for a real Kafka

    if not place.transport_url.startswith("kafka://"):
        return
    admin = AdminClient({"bootstrap.servers": place.transport_url.removeprefix("kafka://"), **place.transport_options})
    pending = admin.delete_topics([place.topic])
    pending |= admin.delete_consumer_groups([f"{RUN}_checker", *(projection.name for projection in projections)])
    for done in pending.values():
        done.exception(timeout=10)
