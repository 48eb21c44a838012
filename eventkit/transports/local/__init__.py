"""An in-process transport that keeps the whole contract, for tests and for services of one process: `local://name`.

A topic is a list in memory for each shard; the key selects the shard. Each shard has one owner in a group, and each
group keeps its offsets. All transports of one name share one broker until the process ends. `refuse`, `hold` and
`lose` make publishers fail as a real broker does.
"""

from collections.abc import Mapping, Sequence

from eventkit.errors import ConfigurationError, TopicUnusable, TransportError
from eventkit.transports.base import Finding, Flag, Resume
from eventkit.transports.local.broker import MISSING, Broker, Refusal
from eventkit.transports.local.publisher import LocalPublisher
from eventkit.transports.local.subscription import LocalListener, LocalSubscription
from eventkit.transports.url import split_url


class LocalTransport:
    """See `Transport`; a test may inject faults too."""

    flags: frozenset[Flag] = frozenset({Flag.ONE_PROCESS})
    system = "local"

    def __init__(self, name: str) -> None:
        self._name = name
        self._broker = _brokers.setdefault(name, Broker())

    def publisher(self, *, to_listeners: bool = False) -> LocalPublisher:  # noqa: ARG002 it needs no listener
        """See `Transport.publisher`."""
        return LocalPublisher(self._broker)

    def subscribe(self, topics: Sequence[str], group: str, *, resume: Resume | None = None) -> LocalSubscription:  # noqa: ARG002 places end with the process
        """Join a group; TopicUnusable when a topic is missing. `resume` is not called: places end with the process."""
        self.partitions(topics)
        return LocalSubscription(self._broker, topics, group)

    def listen(self, topics: Sequence[str]) -> LocalListener:
        """Return a reader of the messages that are sent from now on."""
        self.partitions(topics)
        return LocalListener(self._broker, topics)

    def create_topics(self, topics: Sequence[str], *, partitions: int) -> list[str]:
        """Create the missing topics and return their names."""
        with self._broker.changed:
            missing = [topic for topic in dict.fromkeys(topics) if topic not in self._broker.topics]
            self._broker.topics.update({topic: [[] for _ in range(partitions)] for topic in missing})
            return missing

    def partitions(self, topics: Sequence[str]) -> dict[str, int]:
        """Return how many shards each topic has."""
        missing = {topic: MISSING for topic in topics if topic not in self._broker.topics}
        if missing:
            raise TopicUnusable(missing)
        return {topic: len(self._broker.topics[topic]) for topic in topics}

    def check(self, topics: Sequence[str] = ()) -> str:  # noqa: ARG002 it has no settings
        """Return a line with the name and the number of topics."""
        return f"local://{self._name}, in this process only, {len(self._broker.topics)} topics"

    def findings(self, topics: Sequence[str] = ()) -> list[Finding]:  # noqa: ARG002 it has no settings
        """Return an empty list: this transport has no settings."""
        return []

    def claim(self, topics: Sequence[str], owner: str) -> dict[str, str]:
        """Claim unclaimed topics; return the owner of each."""
        with self._broker.changed:
            there = [topic for topic in topics if topic in self._broker.topics]
            return {topic: self._broker.claims.setdefault(topic, owner) for topic in there}

    def release(self, topic: str) -> None:
        """Remove a claim."""
        with self._broker.changed:
            self._broker.claims.pop(topic, None)

    def groups(self, topics: Sequence[str]) -> list[str]:  # noqa: ARG002 a group is one for all topics
        """Return all groups."""
        return sorted(self._broker.groups)

    def forget(self, topics: Sequence[str], group: str) -> None:  # noqa: ARG002 a group is one for all topics
        """Remove a group; TransportError when it has members."""
        with self._broker.changed:
            if group in self._broker.groups and self._broker.groups[group].members:
                raise TransportError(f"group {group!r} has members")
            self._broker.groups.pop(group, None)

    def close(self) -> None:
        """Do nothing: other transports of this name still use the messages."""

    def refuse(self, refusal: Refusal) -> None:
        """Refuse each message for which `refusal` returns a reason."""
        self._broker.refuse(refusal)

    def hold(self, topic: str, reason: str) -> None:
        """Make a topic unusable to publishers."""
        self._broker.held[topic] = reason

    def lose(self, reason: str) -> None:
        """Make every publisher fail."""
        self._broker.lose(reason)

    def heal(self) -> None:
        """End all faults."""
        self._broker.heal()


_brokers: dict[str, Broker] = {}


def open_transport(url: str, options: Mapping[str, str]) -> LocalTransport:
    """Open the transport that a URL names."""
    parts = split_url(url, "transport", "local://name", hosts=True)
    if not parts.netloc or parts.path.strip("/") or parts.query or options:
        raise ConfigurationError("the URL of an in-process transport is local://name, without path and options")
    return LocalTransport(parts.netloc)
