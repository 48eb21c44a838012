"""Servers for every test: real PostgreSQL and real Apache Kafka, started on first use, named at the end.

A test whose server is missing is skipped with a sentence that says how to get it; with EVENTKIT_REQUIRE_SERVERS=1 it
fails instead. EVENTKIT_TEST_POSTGRES=15|18 chooses the release of `database_url`; EVENTKIT_TEST_DATABASE_URL and
EVENTKIT_TEST_KAFKA_URL, …_RABBITMQ_URL, …_REDIS_URL, …_ACTIVEMQ_URL use servers that run already, but for tests that
kill one. `@pytest.mark.both_postgres` runs a test on both releases.
"""

import os
import re
import signal
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest
from hypothesis import HealthCheck, settings

from eventkit.embedded.kafka import EmbeddedKafka
from eventkit.embedded.memory import folder_in_memory
from tests.servers import ServerMissing
from tests.servers.activemq import ActiveServer
from tests.servers.apicurio import ApicurioServer
from tests.servers.given import GivenBroker
from tests.servers.kafka import GivenKafka, KafkaServer
from tests.servers.postgres import PostgresServer, default_release
from tests.servers.rabbitmq import GivenRabbit, RabbitServer
from tests.servers.redis import GivenRedis, RedisServer

RELEASES = (15, 18)
# Files that take half a minute or more begin first: at the end of a run no process works alone.
LONG = (
    "debezium/test_handover.py",
    "benchmarks/test_memory.py",
    "faults/test_brokers.py",
    "registry/test_apicurio.py",
    "sdks/test_sdks.py",
    "examples/test_consumers.py",
    "faults/test_workload.py",
    "faults/test_no_stall.py",
    "projection/apply/test_neighbours.py",
    "examples/test_flights.py",
    "examples/test_documents.py",
    "everything/test_everything.py",
    "benchmarks/test_runs.py",
    "benchmarks/test_transports.py",
    "benchmarks/test_peers.py",
    "benchmarks/test_insights.py",
    "benchmarks/test_scale.py",
    "cli/test_signals.py",
    "surroundings/test_least_rights.py",
    "surroundings/test_roles.py",
    "surroundings/test_restore.py",
    "storage/tags/test_tag_model.py",
    "transports/test_secured.py",
    "integrations/test_django.py",
)

# The same examples in each run, and no limit of time: a slow machine is no failure. To look for new ones:
# `make test ARGS="--hypothesis-profile search tests/domain"`.
settings.register_profile(
    "eventkit", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.register_profile("search", settings.get_profile("eventkit"), derandomize=False, max_examples=5_000)
settings.load_profile("eventkit")


class Stoppable(Protocol):
    """The common methods of a server fixture."""

    @property
    def version(self) -> str:
        """The server's release."""

    def stop(self) -> None:
        """End it."""


S = TypeVar("S", bound=Stoppable)
G = TypeVar("G", bound=Stoppable)

_ran: dict[str, str] = {}
_missing: dict[str, str] = {}


def pytest_configure(config: pytest.Config) -> None:
    """Name our markers, and let Ctrl-C end this process and those that tests start."""
    config.addinivalue_line("markers", "both_postgres: run the test on PostgreSQL 15 and on 18")
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        # A shell starts its background jobs so, and processes that tests interrupt would inherit it.
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests marked `both_postgres` on both releases."""
    if metafunc.definition.get_closest_marker("both_postgres") and "postgres" in metafunc.fixturenames:
        metafunc.parametrize("postgres", RELEASES, indirect=True, scope="session", ids="postgres{}".format)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take long, in the order of `LONG`."""
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Skip a test that starts a server of its own which is missing, as one that asks for the session's is skipped."""
    missing = call.excinfo.value if call.excinfo is not None else None
    if isinstance(missing, ServerMissing) and os.environ.get("EVENTKIT_REQUIRE_SERVERS") != "1":
        reason = str(missing)
        if reason not in _missing.values():
            _missing[re.split(r" is not on this machine| needs ", reason)[0]] = reason
        skipped = pytest.CallInfo.from_call(lambda: pytest.skip(f"{reason} ({item.name})"), call.when)
        call.excinfo = skipped.excinfo


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand over to the process that prints the summary, where tests run in several."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["servers"] = {"ran": _ran, "missing": _missing}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:  # noqa: ANN401 xdist has no types
    """Collect the report of a worker process about its servers."""
    servers = getattr(node, "workeroutput", {}).get("servers", {})
    _ran.update(servers.get("ran", {}))
    _missing.update(servers.get("missing", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which servers the tests ran on, and which they wanted and did not have."""
    if not _ran and not _missing:
        return
    terminalreporter.section("servers")
    for name, version in _ran.items():
        terminalreporter.line(f"{name}: ran, {version}")
    for name, reason in _missing.items():
        terminalreporter.line(f"{name}: NOT RUN, {reason}", yellow=True)


@pytest.fixture(scope="session")
def postgres15() -> Iterator[PostgresServer]:
    """PostgreSQL 15, from the system."""
    yield from lend("PostgreSQL 15", lambda: PostgresServer.start(15, durable=False))


@pytest.fixture(scope="session")
def postgres18() -> Iterator[PostgresServer]:
    """PostgreSQL 18, from the wheel."""
    yield from lend("PostgreSQL 18", lambda: PostgresServer.start(18, durable=False))


@pytest.fixture(scope="session")
def given_postgres() -> Iterator[PostgresServer]:
    """The server at EVENTKIT_TEST_DATABASE_URL."""
    yield from lend("PostgreSQL (given)", lambda: PostgresServer.given(os.environ["EVENTKIT_TEST_DATABASE_URL"]))


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> PostgresServer:
    """The server of `database_url`."""
    given = "EVENTKIT_TEST_DATABASE_URL" in os.environ and not hasattr(request, "param")
    release = getattr(request, "param", None) or os.environ.get("EVENTKIT_TEST_POSTGRES") or default_release()
    server: PostgresServer = request.getfixturevalue("given_postgres" if given else f"postgres{release}")
    return server


@pytest.fixture
def database_url(postgres: PostgresServer) -> Iterator[str]:
    """A fresh database with eventkit's tables."""
    yield from _database(postgres, migrated=True)


@pytest.fixture
def empty_database_url(postgres: PostgresServer) -> Iterator[str]:
    """A fresh database with nothing in it."""
    yield from _database(postgres, migrated=False)


@pytest.fixture(params=RELEASES, ids="postgres{}".format)
def each_postgres_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A fresh database with eventkit's tables, on each release in turn."""
    yield from _database(request.getfixturevalue(f"postgres{request.param}"), migrated=True)


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaServer | GivenKafka]:
    """A real Apache Kafka for the session; start a `KafkaServer` of your own to kill or pause one."""
    yield from _broker("Apache Kafka", "KAFKA", lambda: KafkaServer().start(), GivenKafka)


@pytest.fixture
def kafka_topic(kafka: KafkaServer | GivenKafka) -> Iterator[str]:
    """A fresh topic of six partitions."""
    name = f"test.{uuid.uuid4().hex[:12]}"
    kafka.create_topic(name)
    yield name
    kafka.delete_topic(name)


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitServer | GivenRabbit]:
    """A real RabbitMQ for the session; start a `RabbitServer` of your own to kill or pause one."""
    yield from _broker("RabbitMQ", "RABBITMQ", lambda: RabbitServer().start(), GivenRabbit)


@pytest.fixture(scope="session")
def activemq() -> Iterator[ActiveServer | GivenBroker]:
    """A real ActiveMQ for the session; start an `ActiveServer` of your own to kill or pause one."""
    yield from _broker("ActiveMQ", "ACTIVEMQ", lambda: ActiveServer().start(), GivenBroker)


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer | GivenRedis]:
    """A real Redis for the session; start a `RedisServer` of your own to kill or pause one."""
    yield from _broker("Redis", "REDIS", lambda: RedisServer().start(), GivenRedis)


@pytest.fixture(scope="session")
def apicurio() -> Iterator[ApicurioServer]:
    """A real schema registry for the session, with Confluent's API."""
    yield from lend("Apicurio Registry", lambda: ApicurioServer().start())


@pytest.fixture
def embedded_kafka() -> Iterator[EmbeddedKafka]:
    """The mock cluster of librdkafka: memory only, fresh for the test."""
    with EmbeddedKafka() as broker:
        yield broker


def _database(server: PostgresServer, *, migrated: bool) -> Iterator[str]:
    url = server.fresh(migrated=migrated)
    yield url
    server.drop(url)


def _broker(name: str, word: str, start: Callable[[], S], given: Callable[[str], G]) -> Iterator[S | G]:
    url = os.environ.get(f"EVENTKIT_TEST_{word}_URL")
    if url:
        yield from lend(f"{name} (given)", lambda: given(url))
    else:
        yield from lend(name, start)


def lend(name: str, start: Callable[[], S]) -> Iterator[S]:
    """Start a server and end it; skip or fail where it is missing, and be named at the end."""
    try:
        with _files_in_memory():
            server = start()
    except ServerMissing as missing:
        _missing[name] = str(missing)
        if os.environ.get("EVENTKIT_REQUIRE_SERVERS") == "1":
            pytest.fail(str(missing), pytrace=False)
        pytest.skip(str(missing))
    _ran[name] = server.version
    yield server
    server.stop()


@contextmanager
def _files_in_memory() -> Iterator[None]:
    """Let a server make its folder in memory, where there is room: it writes much, and nobody keeps it."""
    before = tempfile.tempdir
    tempfile.tempdir = str(folder_in_memory() or tempfile.gettempdir())
    try:
        yield
    finally:
        tempfile.tempdir = before
