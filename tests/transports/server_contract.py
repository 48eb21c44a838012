"""The effects of a broker's or a member's death on a transport: tests to inherit beside the contract.

A transport's own test file gives the fixtures `transport`, to the session's server; `server`, that server; and
`own_server`, one to kill, which the test that breaks it repairs. `killed` has the options of a member whose death is
noticed soon.
"""

import subprocess
import sys
from typing import Any, ClassVar, Protocol

import pytest

from eventkit.domain.message import Message
from eventkit.errors import TransportError, TransportUnavailable
from eventkit.transports import Flag, Transport, open_transport
from tests.transports.contract import fresh, joined
from tests.transports.traffic import deliver, first_in_order, in_order, messages, number, read, read_until
from tests.waiting import wait_until


class Server(Protocol):
    """A broker's process."""

    url: str

    def start(self) -> Any:  # noqa: ANN401 itself
        """Start it, with the data it had."""

    def kill(self) -> None:
        """Kill it with -9."""


class ServerContract:
    """The promises that a service may count on when processes are killed."""

    killed: ClassVar[tuple[str, ...]] = ()

    def test_the_keys_of_a_killed_member_continue_in_order(self, transport: Transport, server: Server) -> None:
        """Messages held by a member that was killed with -9 come again, to another, before new ones."""
        topic = transport.create_topics([fresh("topic")], partitions=4)[0]
        group, publisher = joined(transport, topic, fresh("group")), transport.publisher()
        deliver(publisher, messages(topic, 400, keys=20))
        command = [sys.executable, "-m", "tests.transports.member", server.url, topic, group, *self.killed]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as member:
            wait_until(lambda: int((member.stdout and member.stdout.readline()) or 0) >= 400)
            member.kill()
        deliver(publisher, messages(topic, 100, keys=20, start=400))

        subscription = transport.subscribe([topic], group)
        received = read(subscription, 500)

        assert sorted(map(number, received)) == list(range(500))
        assert in_order(received)
        subscription.close()

    def test_the_backlog_behind_a_members_share_never_passes_it(self, transport: Transport) -> None:
        """A member that gives up a shard, or leaves, holds only a part of the backlog: its messages come first."""
        topic = transport.create_topics([fresh("topic")], partitions=2)[0]
        group, publisher = joined(transport, topic, fresh("group")), transport.publisher()
        deliver(publisher, messages(topic, 6_000))
        first = transport.subscribe([topic], group)
        kept = read(first, 100, limit=100)
        second = transport.subscribe([topic], group)

        def share() -> list[Message]:
            kept.extend(read(first, 1, limit=10))
            return second.receive(500, 0.05)

        shared = wait_until(share, what="a shard that was let go")
        first.close()
        missing = set(range(6_000)) - set(map(number, kept + shared))
        shared += read_until(second, lambda found: missing <= set(map(number, found)))

        assert first_in_order(shared)
        second.close()

    def test_a_message_delivered_many_times_is_not_dropped(self, transport: Transport) -> None:
        """Members that come and go without acknowledging, thirty times over, lose nothing and reorder nothing."""
        topic = transport.create_topics([fresh("topic")], partitions=1)[0]
        group = joined(transport, topic, fresh("group"))
        deliver(transport.publisher(), messages(topic, 20, keys=2))

        for _ in range(30):
            member = transport.subscribe([topic], group)
            again = read(member, 20, acknowledge=False)
            assert all(isinstance(value, str | bytes) for each in again for _, value in each.headers)
            member.close()

        last = transport.subscribe([topic], group)
        received = read(last, 20)
        assert sorted(map(number, received)) == list(range(20))
        assert in_order(received)
        last.close()

    def test_a_server_killed_and_restarted_loses_nothing_confirmed(self, own_server: Server) -> None:
        """Confirmed messages survive kill -9; a publisher and a subscription report the lost server."""
        transport = open_transport(own_server.url)
        topic = transport.create_topics([fresh("durable")], partitions=2)[0]
        group, publisher = joined(transport, topic, "group"), transport.publisher()
        confirmed = deliver(publisher, messages(topic, 1_999)).confirmed
        confirmed += deliver(publisher, messages(topic, 1, start=1_999)).confirmed
        subscription = transport.subscribe([topic], group)

        own_server.kill()
        lost = deliver(publisher, messages(topic, 10, start=2_000))
        with pytest.raises(TransportUnavailable):
            read(subscription, 10_000, acknowledge=False)
        subscription.close()
        own_server.start()

        assert lost.lost
        received = _read_again(transport, topic, group, 2_000)
        assert sorted(set(map(number, received))) == sorted(confirmed)
        assert in_order(received)

    def test_a_group_keeps_its_place_while_the_server_is_down(self, own_server: Server) -> None:
        """The first messages published after a restart reach a group that has no member then."""
        transport = open_transport(own_server.url)
        topic = transport.create_topics([fresh("durable")], partitions=2)[0]
        group = joined(transport, topic, "group")

        own_server.kill()
        own_server.start()
        assert len(deliver(transport.publisher(), messages(topic, 100)).confirmed) == 100

        assert len(_read_again(transport, topic, group, 100)) == 100

    def test_a_topic_without_a_group_is_held_where_nothing_would_be_kept(self, transport: Transport) -> None:
        """No event is confirmed that nobody would ever get."""
        topic = transport.create_topics([fresh("lonely")], partitions=2)[0]

        reports = deliver(transport.publisher(), messages(topic, 10))

        assert (reports.held.keys() == {topic}) == (Flag.NO_HISTORY in transport.flags)
        assert len(reports.confirmed) == (0 if Flag.NO_HISTORY in transport.flags else 10)

    def test_a_password_is_in_no_error(self, server: Server) -> None:
        """Neither an absent server nor one that refuses the password shows it."""
        told: list[str] = []
        for place in ("127.0.0.1:1", server.url.partition("//")[2].partition("/")[0]):
            guest = open_transport(f"{server.url.partition(':')[0]}://nobody:s3cr3t-w0rd@{place}")
            told.append(repr(vars(guest)))
            try:
                told.append(guest.check())
            except TransportError as error:
                told.append(f"{error} {error.__cause__}")

        assert len(told) == 4
        assert "s3cr3t" not in " ".join(told)


def _read_again(transport: Transport, topic: str, group: str, count: int) -> list[Any]:
    subscription = transport.subscribe([topic], group)
    received = read(subscription, count)
    subscription.close()
    return received
