"""Messages to send, and the two things tests do with them: deliver all, and read until enough."""

import time
from collections.abc import Callable, Iterable, Sequence

from eventkit.domain.message import Message
from eventkit.transports import Publisher, Reports, Subscription

HEADERS: list[tuple[str, str | bytes]] = [("ce_specversion", "1.0"), ("ce_type", "OrderPlaced")]
TIMEOUT = 60.0  # seconds


def messages(topic: str, count: int, *, keys: int = 10, start: int = 0, size: int = 20) -> list[Message]:
    """Return messages numbered by tag; the value says key and number."""
    return [message(topic, f"order-{tag % keys}", tag, size=size) for tag in range(start, start + count)]


def message(topic: str, key: str, tag: int, *, size: int = 20) -> Message:
    """Return a message whose value begins with its number."""
    return Message(topic, key, f"{tag}:".ljust(size, "x"), [*HEADERS, ("ce_streamversion", str(tag))], tag)


def number(received: Message) -> int:
    """Return the number that a received message's value begins with."""
    value = received.value.decode() if isinstance(received.value, bytes) else received.value
    return int(value.partition(":")[0])


def deliver(publisher: Publisher, batch: Sequence[Message]) -> Reports:
    """Send and wait for the reports on all, or for a failure."""
    publisher.send(batch)
    return await_reports(publisher, len(batch))


def await_reports(publisher: Publisher, count: int, *, timeout: float = TIMEOUT) -> Reports:
    """Wait for `count` confirmations, or for a failure."""
    confirmed: list[int] = []
    deadline = time.monotonic() + timeout
    while len(confirmed) < count and time.monotonic() < deadline:
        reports = publisher.reports(0.5)
        confirmed += reports.confirmed
        if reports.failed:
            return Reports(confirmed, reports.refused, reports.held, reports.lost)
    return Reports(confirmed)


def whole_story(publisher: Publisher, reports: Reports) -> Reports:
    """Abandon a failed publisher and return all that it ever said."""
    last = publisher.abandon()
    return Reports(
        reports.confirmed + last.confirmed,
        {**reports.refused, **last.refused},
        {**reports.held, **last.held},
        reports.lost or last.lost,
    )


def read(
    subscription: Subscription, count: int, *, acknowledge: bool = True, limit: int = 500, timeout: float = TIMEOUT
) -> list[Message]:
    """Receive until `count` messages are there."""
    return read_until(
        subscription, lambda found: len(found) >= count, acknowledge=acknowledge, limit=limit, timeout=timeout
    )


def read_until(
    subscription: Subscription,
    enough: Callable[[list[Message]], bool],
    *,
    acknowledge: bool = True,
    limit: int = 500,
    timeout: float = TIMEOUT,
) -> list[Message]:
    """Receive until there is enough; on failure, show the received messages."""
    found: list[Message] = []
    deadline = time.monotonic() + timeout
    while not enough(found):
        assert time.monotonic() < deadline, f"only {len(found)} messages in {timeout:g} s"
        batch = subscription.receive(limit, 0.2)
        found += batch
        if acknowledge:
            subscription.acknowledge(batch)
    return found


def numbers_by_key(received: Iterable[Message]) -> dict[str, list[int]]:
    """Return each key's numbers in the order of arrival."""
    found: dict[str, list[int]] = {}
    for each in received:
        found.setdefault(each.key, []).append(number(each))
    return found


def in_order(received: Iterable[Message]) -> bool:
    """Whether each key's numbers rise."""
    return all(numbers == sorted(numbers) for numbers in numbers_by_key(received).values())


def first_in_order(received: Iterable[Message]) -> bool:
    """Whether the first deliveries of each key's numbers rise, with any later repeats."""
    return all(_firsts(numbers) == sorted(set(numbers)) for numbers in numbers_by_key(received).values())


def _firsts(numbers: list[int]) -> list[int]:
    return list(dict.fromkeys(numbers))


def growing(topic: str, *, small: int, large: int, size: int) -> list[Message]:
    """Return small messages, large ones, and small ones again, of twelve keys."""
    first = messages(topic, small, keys=12)
    middle = messages(topic, large, keys=12, start=small, size=size)
    return [*first, *middle, *messages(topic, small, keys=12, start=small + large)]
