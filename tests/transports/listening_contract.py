"""The promises of a listener, on any broker: tests to inherit, beside those of groups (contract.py)."""

import uuid

import pytest

from eventkit.domain.message import Message
from eventkit.errors import TopicUnusable
from eventkit.transports import Flag, Transport
from tests.transports.traffic import deliver, in_order, messages, number, read

HEADERS: list[tuple[str, str | bytes]] = [("ce_type", "größer"), ("ce_metadata", '{"naïve":"日本"}')]


class ListeningContract:
    """A reader of its own, from now on; and a publisher to every listener."""

    @pytest.fixture
    def unread(self, transport: Transport) -> str:
        """A fresh topic of four partitions that no group has subscribed to."""
        return transport.create_topics([f"unread.{uuid.uuid4().hex[:12]}"], partitions=4)[0]

    def test_a_listener_receives_later_messages_and_no_earlier_ones(self, transport: Transport, unread: str) -> None:
        """From all partitions, each key in order, however slowly it reads; it has nothing to acknowledge."""
        publisher = transport.publisher(to_listeners=True)
        deliver(publisher, messages(unread, 100))
        listener = transport.listen([unread])
        deliver(publisher, messages(unread, 500, start=1_000))

        heard = read(listener, 500, limit=7)

        assert sorted(map(number, heard)) == list(range(1_000, 1_500))
        assert in_order(heard)
        assert listener.receive(10, 0.05) == []
        publisher.close(1)
        listener.close()

    def test_each_listener_receives_everything_and_takes_nothing_from_groups(
        self, transport: Transport, topic: str, group: str
    ) -> None:
        """Two listeners and a group: each gets all of it, from whichever publisher."""
        listeners = [transport.listen([topic]) for _ in range(2)]
        kept, passing = transport.publisher(), transport.publisher(to_listeners=True)
        deliver(kept, messages(topic, 50))
        deliver(passing, messages(topic, 50, start=50))

        subscription = transport.subscribe([topic], group)
        for reader in (*listeners, subscription):
            assert sorted(map(number, read(reader, 100, limit=7))) == list(range(100))
            reader.close()

    def test_a_message_to_listeners_arrives_unchanged(self, transport: Transport, unread: str) -> None:
        """Keys and headers in any language, an empty payload and one of 900 KB."""
        sent = [
            Message(unread, "ørder-日本-🛩", '{"größe":1}'.encode(), HEADERS, 1),
            Message(unread, "empty-1", b"", HEADERS, 2),
            Message(unread, "big-1", b"\x00\xff" * 450_000, HEADERS, 3),
        ]
        listener, publisher = transport.listen([unread]), transport.publisher(to_listeners=True)
        deliver(publisher, sent)

        heard = {each.key: each for each in read(listener, 3, limit=7)}

        for each in sent:
            found = heard[each.key]
            texts = [(name, value if isinstance(value, str) else value.decode()) for name, value in found.headers]
            assert (found.topic, found.value, sorted(texts)) == (each.topic, each.value, sorted(HEADERS))
        publisher.close(1)
        listener.close()

    def test_a_message_to_listeners_is_confirmed_where_nobody_listens(self, transport: Transport, unread: str) -> None:
        """Nobody is missing then; but a topic that does not exist is held, as always."""
        publisher = transport.publisher(to_listeners=True)

        assert len(deliver(publisher, messages(unread, 20)).confirmed) == 20
        held = deliver(publisher, messages(f"missing.{unread}", 1)).held

        assert held.keys() == {f"missing.{unread}"}
        publisher.abandon()

    def test_a_listener_that_is_gone_is_no_group(self, transport: Transport, unread: str) -> None:
        """Where a topic without a group holds its events back, it does so again."""
        listener = transport.listen([unread])
        listener.close()

        reports = deliver(transport.publisher(), messages(unread, 10))

        assert (reports.held.keys() == {unread}) == (Flag.NO_HISTORY in transport.flags)

    def test_a_missing_topic_cannot_be_listened_to(self, transport: Transport, topic: str) -> None:
        """It says at once which topics are missing."""
        missing = f"missing.{uuid.uuid4().hex[:12]}"

        with pytest.raises(TopicUnusable, match=missing) as caught:
            transport.listen([topic, missing])

        assert caught.value.reasons.keys() == {missing}
