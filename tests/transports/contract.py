"""The contract that every transport keeps (`eventkit/transports/base.py`), as tests to inherit.

A transport's own test file subclasses `TransportContract` and gives two fixtures: `transport`, and `refuser`, which
makes a topic in which messages with a value of `too_large` characters are refused and smaller ones taken.
"""

import uuid
from collections.abc import Callable, Iterator, Sequence

import pytest

from eventkit.domain.message import Message
from eventkit.errors import TopicUnusable, TransportError
from eventkit.transports import Flag, Subscription, Transport
from eventkit.transports.base import MAX_BYTES, Mark, PlacedSubscription
from tests.transports.listening_contract import ListeningContract
from tests.transports.traffic import (
    await_reports,
    deliver,
    growing,
    in_order,
    message,
    messages,
    number,
    numbers_by_key,
    read,
    read_until,
    whole_story,
)
from tests.waiting import wait_until

TOO_LARGE = 30_000
Refuser = Callable[[], str]


def fresh(what: str) -> str:
    """Return a name that nobody has used."""
    return f"{what}.{uuid.uuid4().hex[:12]}"


def joined(transport: Transport, topic: str, group: str) -> str:
    """Return a group that has the messages sent from now on, also where the broker keeps nothing for later ones."""
    if Flag.NO_HISTORY in transport.flags:
        transport.subscribe([topic], group).close()
    return group


class TransportContract(ListeningContract):
    """The promises that a service may count on, on any broker."""

    too_large = TOO_LARGE
    largest_answer = 0  # bytes that one answer may have beyond a batch, where the broker counts entries
    forgets = True  # whether groups and claims can be removed
    many = 150_000  # messages, more than any queue holds

    @pytest.fixture
    def topic(self, transport: Transport) -> str:
        """A fresh topic of six partitions, which somebody reads."""
        name = transport.create_topics([fresh("contract")], partitions=6)[0]
        joined(transport, name, fresh("keeper"))
        return name

    @pytest.fixture
    def group(self, transport: Transport, topic: str) -> str:
        """A fresh group."""
        return joined(transport, topic, fresh("group"))

    @pytest.fixture
    def published(self, transport: Transport, topic: str) -> Iterator[list[Message]]:
        """A thousand messages of ten keys, confirmed."""
        publisher = transport.publisher()
        batch = messages(topic, 1_000)
        assert sorted(deliver(publisher, batch).confirmed) == list(range(1_000))
        yield batch
        publisher.close(1)

    def test_every_message_is_reported_once_by_its_tag(self, transport: Transport, topic: str) -> None:
        """A message that the broker has made durable is confirmed, each by itself and once."""
        publisher = transport.publisher()

        reports = deliver(publisher, messages(topic, 2_500, keys=100))

        assert sorted(reports.confirmed) == list(range(2_500))
        assert not reports.failed
        assert publisher.close(1).confirmed == []

    def test_a_key_arrives_in_the_order_of_sending(
        self, transport: Transport, topic: str, group: str, published: list[Message]
    ) -> None:
        """One key's messages arrive in the order in which one publisher was given them."""
        subscription = transport.subscribe([topic], group)

        received = read(subscription, len(published))

        assert in_order(received)
        assert sorted(map(number, received)) == list(range(len(published)))
        subscription.close()

    def test_a_message_arrives_unchanged(self, transport: Transport, topic: str, group: str) -> None:
        """Keys and headers in any language, metadata of 60 KB, payloads of 0 and 900 KB arrive as they were."""
        headers: list[tuple[str, str | bytes]] = [("ce_type", "Bestellt"), ("ce_metadata", '{"naïve":"日本"}')]
        metadata = [f'{{"a":"{text}"}}' for text in ("\\n:" * 19_990, "🛩" * 14_990)]
        sent = [
            Message(topic, "ørder-日本-🛩", '{"größe":1}', headers, 1),
            Message(topic, "empty-1", b"", headers, 2),
            Message(topic, "big-1", b"\x00\xff" * 450_000, headers, 3),
            *(
                Message(topic, f"long-{tag}", b"{}", [("ce_metadata", text)], tag)
                for tag, text in enumerate(metadata, 4)
            ),
        ]
        publisher, subscription = transport.publisher(), transport.subscribe([topic], group)

        assert sorted(deliver(publisher, sent).confirmed) == [1, 2, 3, 4, 5]
        received = {each.key: each for each in read(subscription, len(sent))}

        for each in sent:
            assert _bytes(received[each.key].value) == _bytes(each.value)
            found = [(name, _bytes(value)) for name, value in received[each.key].headers]
            assert sorted(found) == sorted((name, _bytes(value)) for name, value in each.headers)  # RabbitMQ 4.3 sorts
        publisher.close(1)
        subscription.close()

    def test_a_member_is_ready_when_it_has_looked_everywhere(
        self, transport: Transport, topic: str, group: str
    ) -> None:
        """Until then an empty answer means nothing; also a member for which no shard is left is ready."""
        deliver(transport.publisher(), messages(topic, 20, keys=20))
        members = [transport.subscribe([topic], group) for _ in range(8)]  # and six shards
        found: list[Message] = []

        def all_are_ready() -> bool:
            for member in members:
                batch = member.receive(100, 0.05)
                member.acknowledge(batch)
                found.extend(batch)
            return all(member.ready for member in members)

        wait_until(all_are_ready, timeout=60, what="all to have their part")
        wait_until(lambda: all_are_ready() and len(set(map(number, found))) == 20, timeout=60)
        for member in members:
            member.close()

    def test_each_group_gets_everything(self, transport: Transport, topic: str) -> None:
        """Groups do not take messages from each other."""
        groups = [joined(transport, topic, fresh("group")) for _ in range(2)]
        deliver(transport.publisher(), messages(topic, 1_000))

        for group in groups:
            subscription = transport.subscribe([topic], group)
            received = read(subscription, 1_000)
            assert sorted(map(number, received)) == list(range(1_000))
            subscription.close()

    def test_a_later_group_finds_earlier_messages_or_the_flag_says_so(
        self, transport: Transport, topic: str, published: list[Message]
    ) -> None:
        """Where a broker keeps nothing for a group that comes later, its flag says so: it starts with new messages."""
        later = transport.subscribe([topic], fresh("later"))
        deliver(transport.publisher(), messages(topic, 10, start=5_000))
        history = [] if Flag.NO_HISTORY in transport.flags else list(range(len(published)))

        received = read(later, len(history) + 10)

        assert sorted(map(number, received)) == [*history, *range(5_000, 5_010)]
        later.close()

    def test_the_members_of_a_group_share_the_keys(self, transport: Transport, topic: str, group: str) -> None:
        """Two members get every message between them, and a key is with one of them only."""
        publisher = transport.publisher()
        members = [transport.subscribe([topic], group) for _ in range(2)]
        found: list[list[Message]] = [[], []]
        for tag in range(10_000):  # until both have their share
            deliver(publisher, messages(topic, 20, keys=20, start=tag * 20))
            for member, part in zip(members, found, strict=True):
                batch = member.receive(100, 0.05)
                member.acknowledge(batch)
                part.extend(batch)
            if all(found):
                break
        start = 1_000_000
        deliver(publisher, messages(topic, 400, keys=20, start=start))

        parts: list[list[Message]] = [[], []]
        read_until(
            _Both(members, parts),
            lambda _: sum(number(each) >= start for part in parts for each in part) >= 400,
        )

        late = [{each.key for each in part if number(each) >= start} for part in parts]
        assert all(late)
        assert not late[0] & late[1]
        assert all(in_order(part) for part in parts)
        publisher.close(1)
        for member in members:
            member.close()

    def test_unacknowledged_messages_are_delivered_again(
        self, transport: Transport, topic: str, group: str, published: list[Message]
    ) -> None:
        """A member that leaves without acknowledging has taken nothing away."""
        first = transport.subscribe([topic], group)
        read(first, len(published), acknowledge=False)
        first.close()

        second = transport.subscribe([topic], group)
        received = read(second, len(published))

        assert in_order(received)
        assert sorted(map(number, received)) == list(range(len(published)))
        second.close()

    def test_acknowledged_messages_are_not_delivered_again(
        self, transport: Transport, topic: str, group: str, published: list[Message]
    ) -> None:
        """A group continues behind its acknowledged messages."""
        first = transport.subscribe([topic], group)
        read(first, len(published))
        first.close()
        publisher = transport.publisher()
        deliver(publisher, messages(topic, 10, start=5_000))

        second = transport.subscribe([topic], group)
        received = read(second, 10)

        assert sorted(map(number, received)) == list(range(5_000, 5_010))
        publisher.close(1)
        second.close()

    def test_one_unacknowledged_message_comes_again_even_if_later_ones_are_acknowledged(
        self, transport: Transport, topic: str, group: str, published: list[Message]
    ) -> None:
        """Acknowledging covers a message's own key, never another one's."""
        first = transport.subscribe([topic], group)
        received = read(first, len(published), acknowledge=False)
        left_out = {number(each) for each in received if each.key == "order-3"}
        first.acknowledge([each for each in received if number(each) not in left_out])
        first.close()

        second = transport.subscribe([topic], group)
        again = read_until(second, lambda found: left_out <= set(map(number, found)))

        assert numbers_by_key(again)["order-3"] == sorted(left_out)
        second.close()

    def test_the_last_of_a_key_covers_the_earlier_ones(self, transport: Transport, topic: str, group: str) -> None:
        """Acknowledging a message acknowledges the earlier ones of its key."""
        publisher = transport.publisher()
        deliver(publisher, [message(topic, "order-1", tag) for tag in range(50)])
        first = transport.subscribe([topic], group)
        received = read(first, 50, acknowledge=False)
        first.acknowledge(received[-1:])
        first.close()
        deliver(publisher, [message(topic, "order-1", 99)])

        second = transport.subscribe([topic], group)

        assert [number(each) for each in read(second, 1)] == [99]
        publisher.close(1)
        second.close()

    def test_a_member_that_joins_takes_nothing_away_during_a_batch(
        self, transport: Transport, topic: str, group: str, published: list[Message]
    ) -> None:
        """Shares change only while a member receives: messages in its hands stay its own until then."""
        first = transport.subscribe([topic], group)
        in_hand = read(first, len(published), acknowledge=False)

        second = transport.subscribe([topic], group)
        early = second.receive(100, 1.0)
        first.acknowledge(in_hand)
        late = _receive_both(first, second)

        assert early == []
        assert late == []
        first.close()
        second.close()

    def test_a_member_that_leaves_hands_its_keys_over_in_order(
        self, transport: Transport, topic: str, group: str, published: list[Message]
    ) -> None:
        """The keys of a member that leaves go to another, from the first unacknowledged message on, in order."""
        first = transport.subscribe([topic], group)
        handled = read(first, 100, limit=100)  # before there is another, whose share would wait for it to be read
        second = transport.subscribe([topic], group)
        first.receive(100, 0.1)  # and never acknowledges them

        first.close()
        missing = {number(each) for each in published} - {number(each) for each in handled}
        rest = read_until(second, lambda found: missing <= set(map(number, found)))

        assert in_order(rest)
        second.close()

    def test_a_slow_reader_loses_nothing(
        self, transport: Transport, topic: str, group: str, published: list[Message]
    ) -> None:
        """A reader that takes a few messages at a time gets all of them."""
        subscription = transport.subscribe([topic], group)

        received = read(subscription, len(published), limit=7)

        assert sorted(map(number, received)) == list(range(len(published)))
        assert in_order(received)
        subscription.close()

    def test_messages_that_grow_arrive_once_each_in_order_and_few_at_a_time(
        self, transport: Transport, topic: str, group: str
    ) -> None:
        """A batch has about 8 MB, or one answer of a broker that counts entries; each comes once, in order."""
        sent = growing(topic, small=600, large=40, size=880_000)
        assert len(deliver(transport.publisher(), sent).confirmed) == len(sent)
        subscription = transport.subscribe([topic], group)
        batches: list[list[Message]] = []
        numbers: list[tuple[str, int]] = []

        def enough() -> bool:
            batch = subscription.receive(4_000, 0.5)
            batches.append([message(each.topic, each.key, 0, size=len(each.value)) for each in batch])
            numbers.extend((each.key, number(each)) for each in batch)
            subscription.acknowledge(batch)
            return len(numbers) >= len(sent)

        wait_until(enough, timeout=120, what="all messages")

        assert sorted(tag for _, tag in numbers) == list(range(len(sent)))
        assert all(tags == sorted(tags) for tags in _by_key(numbers).values())
        if Flag.ONE_PROCESS not in transport.flags:
            assert (
                max(sum(len(each.value) for each in batch) for batch in batches) < 2 * MAX_BYTES + self.largest_answer
            )
        subscription.close()

    def test_a_message_that_waits_while_larger_ones_come_is_not_lost(
        self, transport: Transport, topic: str, group: str
    ) -> None:
        """One key is not acknowledged while the others continue; a member that comes later begins with it."""
        sent = growing(topic, small=100, large=24, size=880_000)
        deliver(transport.publisher(), sent)
        first = transport.subscribe([topic], group)
        found: set[int] = set()

        def others_are_through() -> bool:
            batch = first.receive(4_000, 0.5)
            found.update(map(number, batch))
            first.acknowledge([each for each in batch if each.key != "order-3"])
            return len(found) == len(sent)

        wait_until(others_are_through, timeout=120, what="all messages")
        first.close()

        second = transport.subscribe([topic], group)
        waiting = [each.tag for each in sent if each.key == "order-3"]
        again = read_until(second, lambda found: set(waiting) <= set(map(number, found)), timeout=120)
        assert list(dict.fromkeys(numbers_by_key(again)["order-3"])) == waiting
        second.close()

    def test_receive_keeps_to_its_limit_and_to_its_time(
        self, transport: Transport, topic: str, group: str, published: list[Message]
    ) -> None:
        """At most `limit` messages come at a time, and nothing comes after the time-out when nothing is there."""
        subscription = transport.subscribe([topic], group)
        batches: list[list[Message]] = []
        while sum(len(batch) for batch in batches) < len(published):
            batches.append(subscription.receive(64, 1.0))

        assert max(map(len, batches)) <= 64
        assert subscription.receive(64, 0.05) == []
        subscription.close()

    def test_a_refused_message_is_named_and_nothing_of_its_key_passes_it(
        self, transport: Transport, refuser: Refuser, group: str
    ) -> None:
        """The refused message is reported by tag with a reason; those before it arrive, later ones of its key don't."""
        topic = refuser()
        publisher = transport.publisher()
        before = deliver(publisher, [message(topic, "order-1", tag) for tag in range(10)])
        culprit = message(topic, "order-1", 10, size=self.too_large)

        story = whole_story(
            publisher,
            deliver(publisher, [culprit, *(message(topic, "order-1", tag) for tag in range(11, 500))]),
        )

        assert sorted(before.confirmed) == list(range(10))
        assert story.refused.keys() == {10}
        assert story.refused[10]
        assert story.confirmed == []
        assert _all_numbers(transport, topic, group) == list(range(10))

    def test_the_first_message_of_a_key_can_be_refused_too(
        self, transport: Transport, refuser: Refuser, group: str
    ) -> None:
        """Nothing passes a refused message, also where this publisher has sent nothing before."""
        topic = refuser()
        publisher = transport.publisher()
        batch = [
            message(topic, "order-1", 1, size=self.too_large),
            *(message(topic, "order-1", tag) for tag in range(2, 300)),
        ]

        story = whole_story(publisher, deliver(publisher, batch))

        assert story.refused.keys() == {1}
        assert _all_numbers(transport, topic, group) == []

    def test_a_new_publisher_continues_where_the_failed_one_was(
        self, transport: Transport, refuser: Refuser, group: str
    ) -> None:
        """After a refusal every other message can be sent again, and arrives."""
        topic = refuser()
        failed = transport.publisher()
        batch = messages(topic, 200, keys=20)
        batch[50] = message(topic, "order-10", 50, size=self.too_large)
        story = whole_story(failed, deliver(failed, batch))
        publisher = transport.publisher()

        rest = [each for each in batch if each.tag not in {*story.confirmed, *story.refused}]
        reports = deliver(publisher, rest)

        assert sorted({*story.confirmed, *reports.confirmed}) == [tag for tag in range(200) if tag != 50]
        subscription = transport.subscribe([topic], group)
        wanted = set(range(200)) - {50}
        received = read_until(subscription, lambda found: wanted <= set(map(number, found)))
        assert _first_deliveries_in_order(received)
        publisher.close(1)
        subscription.close()

    def test_a_missing_topic_is_held_and_its_events_are_innocent(self, transport: Transport) -> None:
        """A publisher names a missing topic with a reason, and refuses no event for it."""
        publisher = transport.publisher()
        missing = fresh("missing")

        story = whole_story(publisher, deliver(publisher, messages(missing, 5)))

        assert story.held.keys() == {missing}
        assert "create" in story.held[missing]
        assert story.refused == {}
        assert story.confirmed == []

    def test_a_missing_topic_cannot_be_subscribed(self, transport: Transport, topic: str, group: str) -> None:
        """A subscription says at once which topics are missing."""
        missing = fresh("missing")

        with pytest.raises(TopicUnusable, match=missing) as caught:
            transport.subscribe([topic, missing], group)

        assert caught.value.reasons.keys() == {missing}

    def test_a_forgotten_group_starts_again(
        self, transport: Transport, topic: str, group: str, published: list[Message]
    ) -> None:
        """A group can be removed with all that it has acknowledged, twice without harm; history is read again."""
        if not self.forgets:
            with pytest.raises(TransportError, match="console"):
                transport.forget([topic], group)
            return
        subscription = transport.subscribe([topic], group)
        subscription.acknowledge(read(subscription, len(published)))
        subscription.close()

        transport.forget([topic], group)
        transport.forget([topic], group)

        again = transport.subscribe([topic], group)
        if Flag.NO_HISTORY in transport.flags:
            assert again.is_new
        else:
            assert len(read(again, len(published))) == len(published)
        again.close()

    def test_a_group_with_members_is_not_forgotten(self, transport: Transport, topic: str, group: str) -> None:
        """It continues, and an attempt to remove it is an error."""
        if not self.forgets:
            return
        subscription = transport.subscribe([topic], group)
        subscription.receive(1, 1.0)  # it has joined

        with pytest.raises(TransportError, match=group):
            transport.forget([topic], group)

        subscription.close()

    def test_a_topic_is_claimed_by_the_first(self, transport: Transport, topic: str) -> None:
        """The second gets the owner's name; the owner may claim it again; a missing topic has no owner."""
        other = transport.create_topics([fresh("contract")], partitions=2)[0]

        assert transport.claim([topic], "one") == {topic: "one"}
        assert transport.claim([topic, other, fresh("missing")], "two") == {topic: "one", other: "two"}
        assert transport.claim([topic, other], "one") == {topic: "one", other: "two"}

    def test_a_claim_is_released(self, transport: Transport, topic: str) -> None:
        """The next one who claims the topic has it."""
        transport.claim([topic], "one")

        if not self.forgets:
            with pytest.raises(TransportError, match="console"):
                transport.release(topic)
            return
        transport.release(topic)
        transport.release(topic)

        assert transport.claim([topic], "two") == {topic: "two"}

    def test_topics_are_created_once(self, transport: Transport) -> None:
        """Creating returns the missing names, and existing topics are left alone."""
        name = fresh("contract")

        assert transport.create_topics([name], partitions=3) == [name]
        assert transport.create_topics([name], partitions=3) == []

    def test_close_flushes(self, transport: Transport, topic: str, group: str) -> None:
        """Messages sent before `close` are confirmed by it, and are there."""
        publisher = transport.publisher()
        publisher.send(messages(topic, 3_000, keys=50))

        reports = publisher.close(20)

        assert not reports.failed
        assert sorted(reports.confirmed) == list(range(3_000))
        assert _all_numbers(transport, topic, group) == list(range(3_000))

    def test_stragglers_of_an_abandoned_publisher_are_duplicates_only(
        self, transport: Transport, topic: str, group: str
    ) -> None:
        """Messages of an abandoned publisher may come late, but the first deliveries of a key stay in order."""
        abandoned = transport.publisher()
        deliver(abandoned, messages(topic, 10))
        batch = messages(topic, 5_000, start=10)
        abandoned.send(batch)
        known = set(abandoned.abandon().confirmed)
        publisher = transport.publisher()

        reports = deliver(publisher, [each for each in batch if each.tag not in known])

        assert known | set(reports.confirmed) == set(range(10, 5_010))
        subscription = transport.subscribe([topic], group)
        received = read_until(subscription, lambda found: set(map(number, found)) == set(range(5_010)))
        assert _first_deliveries_in_order(received)
        publisher.close(1)
        subscription.close()

    def test_more_is_taken_than_any_queue_holds(self, transport: Transport, topic: str) -> None:
        """`send` waits instead of growing without bound, and loses nothing."""
        publisher = transport.publisher()

        publisher.send(messages(topic, self.many, keys=500))
        reports = await_reports(publisher, self.many, timeout=60)

        assert len(reports.confirmed) == self.many
        assert not reports.failed
        publisher.close(1)

    def test_check_names_the_broker(self, transport: Transport) -> None:
        """`check` answers with a line about the broker."""
        assert transport.check()


class _Both:
    """Two members read in turn, as if they were one."""

    is_new = False
    ready = True

    def __init__(self, members: list[Subscription], parts: list[list[Message]]) -> None:
        self._members = members
        self._parts = parts

    def receive(self, limit: int, timeout: float) -> list[Message]:
        for member, part in zip(self._members, self._parts, strict=True):
            batch = member.receive(limit, timeout)
            member.acknowledge(batch)
            part.extend(batch)
        return []

    def marks(self, messages: Sequence[Message]) -> list[Mark]:
        return [mark for each in self._members if isinstance(each, PlacedSubscription) for mark in each.marks(messages)]

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """They are acknowledged."""

    def close(self) -> None:
        """The members close themselves."""


def _receive_both(first: Subscription, second: Subscription) -> list[Message]:
    parts: list[list[Message]] = [[], []]
    both = _Both([first, second], parts)
    for _ in range(10):
        both.receive(100, 0.2)
    return [*parts[0], *parts[1]]


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _all_numbers(transport: Transport, topic: str, group: str) -> list[int]:
    """Return everything in a topic, once a message sent now has arrived in each of its partitions."""
    publisher = transport.publisher()
    marks = [message(topic, f"mark-{tag}", tag) for tag in range(10**9, 10**9 + 100)]
    assert len(deliver(publisher, marks).confirmed) == len(marks)
    publisher.close(1)
    subscription = transport.subscribe([topic], group)
    wanted = {mark.tag for mark in marks}
    received = read_until(subscription, lambda found: wanted <= set(map(number, found)))
    subscription.close()
    return sorted(number(each) for each in received if number(each) < 10**9)


def _first_deliveries_in_order(received: list[Message]) -> bool:
    return all(list(dict.fromkeys(each)) == sorted(set(each)) for each in numbers_by_key(received).values())


def _by_key(numbers: Sequence[tuple[str, int]]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for key, tag in numbers:
        found.setdefault(key, []).append(tag)
    return found
