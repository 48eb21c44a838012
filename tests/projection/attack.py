"""Two processes over one read model: shared rows, deleting handlers, rewinds, batches cut anywhere, and zombies.

Each process reads half of the streams, as in a consumer group, and now and then some of the other's, as after a
rebalance that it has not noticed. `attack` returns the faults at the end; the mutants of test_mutants.py must give
it something to return.
"""

import random
import threading
from collections import Counter

from sqlalchemy import Table

from eventkit.domain.message import Message
from eventkit.projection.define.rows import DELETE
from eventkit.projection.define.table import TableProjection
from tests.projection.shop import TOTALS, Ordered, Total, checkpoints, letters, message, projector, rows, shop, store

STREAMS, EVENTS, CUSTOMERS = 10, 40, 4


def balances(table: Table = TOTALS) -> TableProjection:
    """Return sums by customer; a row at zero is deleted, so that the fold depends on no order between streams."""
    projection = TableProjection("balances", shop, table=table, key="customer")

    @projection.on(Ordered)
    def ordered(row: Total, event: Ordered) -> object:
        row.amount += event.amount
        return DELETE if row.amount == 0 else None

    return projection


def attack(url: str, seed: int, table: Table = TOTALS) -> list[str]:
    """Run both processes to their end; return the faults."""
    chance = random.Random(seed)
    logs = [_log(f"order-{seed}.{number}", chance) for number in range(STREAMS)]
    store(url, [item for log in logs for item in log])
    before = dict(rows(url, "select customer, amount from totals"))
    owned = [0] * STREAMS
    errors: list[BaseException] = []
    both = [
        threading.Thread(target=_process, args=(balances(table), url, logs, owned, half, errors)) for half in range(2)
    ]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(60)
    if errors:
        raise errors[0]
    return _wrong(url, logs, before)


def _log(stream: str, chance: random.Random) -> list[Message]:
    return [
        message(stream, version, Ordered(f"c{chance.randrange(CUSTOMERS)}", chance.choice([-1, 1])))
        for version in range(1, EVENTS + 1)
    ]


def _process(
    projection: TableProjection,
    url: str,
    logs: list[list[Message]],
    owned: list[int],
    half: int,
    errors: list[BaseException],
) -> None:
    chance = random.Random(f"{logs[0][0].key} {half}")
    try:
        with projector(url, projection) as running:
            while any(owned[number] < EVENTS for number in range(half, STREAMS, 2)):
                running.apply(_batch(logs, owned, half, chance))
            running.apply([item for log in logs[half::2] for item in log])
    except BaseException as error:  # noqa: BLE001 raised again by the caller
        errors.append(error)


def _batch(logs: list[list[Message]], owned: list[int], half: int, chance: random.Random) -> list[Message]:
    batch: list[Message] = []
    for number in chance.sample(range(STREAMS), STREAMS // 2):
        start = max(0, owned[number] - chance.choice([0, 0, 1, 4]))
        end = min(EVENTS, owned[number] + chance.randrange(1, 8))
        batch += logs[number][start:end]
        if number % 2 == half:
            owned[number] = max(owned[number], end)
    return batch


def _wrong(url: str, logs: list[list[Message]], before: dict[str, int]) -> list[str]:
    expected = Counter(before)
    for item in (item for log in logs for item in log):
        event = shop.decode_data("shop", "Ordered", 1, item.value)
        expected[event.customer] += event.amount
    wanted = {customer: amount for customer, amount in expected.items() if amount}
    found = dict(rows(url, "select customer, amount from totals"))
    at = checkpoints(url)
    behind = [f"{log[0].key} is at {at.get(log[0].key)}" for log in logs if at.get(log[0].key) != (EVENTS, False)]
    return [*behind, *map(str, letters(url)), *([] if found == wanted else [f"{found} should be {wanted}"])]
