"""A real Apache Kafka, one broker that is its own controller, with the faults that tests need: kill, restart, pause."""

import shutil
import signal
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType
from confluent_kafka.cimpl import NewTopic

from eventkit.embedded.guard import Guard, ServerCommand, tail
from eventkit.embedded.ports import free_port
from tests.servers import ServerFailed
from tests.servers.given import GivenBroker
from tests.servers.jars import KAFKA, KAFKA_VERSION, QUICK

START_TIMEOUT = 90.0
STOP_TIMEOUT = 20.0
LOCAL = "127.0.0.1"
PROPERTIES = """\
node.id=1
process.roles=broker,controller
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers={host}:{controller}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={folder}/data
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
offsets.topic.replication.factor=1
offsets.topic.num.partitions=5
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=5
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=5
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
"""


class Topics:
    """The topics of a broker, for any way of running it."""

    bootstrap: str

    def admin(self, **config: str | float) -> AdminClient:
        """Return an admin client."""
        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0, **config})

    def create_topic(self, name: str, partitions: int = 6, **config: str | float) -> None:
        """Create a topic; `config` are the topic's own settings, with `_` for `.` (`max_message_bytes=20_000`)."""
        settings = {key.replace("_", "."): str(value) for key, value in config.items()}
        topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=settings)
        _await(lambda: self._took(topic), f"the new topic {name}")
        admin = self.admin()
        _await(lambda: name in admin.list_topics(timeout=5).topics, f"the new topic {name}")

    def _took(self, topic: NewTopic) -> bool:
        """Return whether the broker made the topic; it may lose a request while it comes back from a pause."""
        admin = self.admin()
        try:
            admin.create_topics([topic])[topic.topic].result(10)
        except TimeoutError:
            return False
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:  # by a request whose answer was lost
                raise
        return True

    def alter_topic(self, name: str, **config: str | float) -> None:
        """Change a topic's settings, as `create_topic` takes them."""
        resource = ConfigResource(ResourceType.TOPIC, name)
        for key, value in config.items():
            operation = AlterConfigOpType.SET
            entry = ConfigEntry(key.replace("_", "."), str(value), incremental_operation=operation)
            resource.add_incremental_config(entry)
        admin = self.admin()  # it must live until the answer is there
        admin.incremental_alter_configs([resource])[resource].result(30)

    def groups(self) -> set[str]:
        """Return the names of the broker's consumer groups."""
        admin = self.admin()  # it must live until the answer is there
        return {group.group_id for group in admin.list_consumer_groups().result(60).valid}

    def delete_topic(self, name: str) -> None:
        """Delete a topic."""
        admin = self.admin()
        admin.delete_topics([name])[name].result(30)
        _await(lambda: name not in admin.list_topics(timeout=5).topics, f"the end of topic {name}")


class GivenKafka(GivenBroker, Topics):
    """A Kafka that runs already."""

    def __init__(self, url: str) -> None:
        """Use the broker at `kafka://host:port`."""
        super().__init__(url)
        self.bootstrap = url.removeprefix("kafka://").partition("?")[0]


class KafkaServer(Topics):
    """Apache Kafka as a child process.

    `properties` are added to its server.properties, the last of a name counts; they may name the ports as those do.
    `quick`: whether it starts sooner and carries fewer messages a second.
    """

    version = KAFKA_VERSION

    def __init__(self, *, heap: str = "1g", properties: Mapping[str, str] | None = None, quick: bool = True) -> None:
        """Choose ports; nothing runs yet."""
        self._heap = heap
        self._quick = QUICK if quick else ()
        self._properties = properties or {}
        self._port, self._controller = free_port(), free_port()
        self.bootstrap = f"{LOCAL}:{self._port}"
        self._guard: Guard | None = None
        self.pid = 0

    @property
    def url(self) -> str:
        """The address as a transport URL."""
        return f"kafka://{self.bootstrap}"

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    def start(self) -> Self:
        """Start the broker, on the same port and data as before if it ran before, and return when it answers."""
        if self._guard is None:
            self._prepare()
        elif self._running_guard.running(self.pid):
            return self
        try:
            self.pid = self._running_guard.spawn(self._java("kafka.Kafka", str(self._folder / "server.properties")))
            self._await_answer()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the broker and remove its data."""
        if self._guard:
            self._guard.close()
        self._guard, self.pid = None, 0

    def kill(self) -> None:
        """Kill the broker with -9."""
        self._running_guard.signal(self.pid, signal.SIGKILL)
        self._running_guard.wait(self.pid, timeout=STOP_TIMEOUT)

    def terminate(self) -> None:
        """Ask the broker to end, and wait for that."""
        self._running_guard.signal(self.pid, signal.SIGTERM)
        self._running_guard.wait(self.pid, timeout=STOP_TIMEOUT)

    def pause(self) -> None:
        """Stop the broker in its tracks; its connections stay open."""
        self._running_guard.signal(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused broker continue."""
        self._running_guard.signal(self.pid, signal.SIGCONT)

    @property
    def log(self) -> str:
        """The end of the broker's output."""
        return tail(self._folder / "kafka.log")

    @property
    def _running_guard(self) -> Guard:
        if self._guard is None:
            raise ServerFailed("this Kafka is not started: call start() or use it in a `with`")
        return self._guard

    @property
    def _folder(self) -> Path:
        return self._running_guard.folder

    def _prepare(self) -> None:
        self._jars = KAFKA.folder()
        self._guard = Guard("eventkit-kafka-")
        known = {"host": LOCAL, "port": self._port, "controller": self._controller, "folder": self._folder}
        extra = "".join(f"{name}={value}\n" for name, value in self._properties.items())
        (self._folder / "server.properties").write_text((PROPERTIES + extra).format(**known))
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")
        try:
            configuration = str(self._folder / "server.properties")
            self._guard.run(
                self._java("kafka.tools.StorageTool", "format", "--standalone", "-t", cluster, "-c", configuration)
            )
        except BaseException:
            self.stop()
            raise

    def _java(self, *arguments: str) -> ServerCommand:
        quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        options = [*self._quick, f"-Xmx{self._heap}", f"-Djava.io.tmpdir={self._folder}", "-XX:-UsePerfData", quiet]
        return ServerCommand(
            arguments=[shutil.which("java") or "java", *options, "-cp", f"{self._jars}/*", *arguments],
            log=self._folder / "kafka.log",
        )

    def _await_answer(self) -> None:
        admin = self.admin()
        deadline = time.monotonic() + START_TIMEOUT
        while self._running_guard.running(self.pid) and time.monotonic() < deadline:
            try:
                if admin.list_topics(timeout=1).brokers:
                    return
            except KafkaException:
                time.sleep(0.02)
        raise ServerFailed(f"Apache Kafka did not start on {self.bootstrap}: {self.log}")


def _await(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            raise ServerFailed(f"Kafka did not show {what} within {START_TIMEOUT:.0f} s")
        time.sleep(0.02)
