"""Under any deliveries, in any batches: the read model is at every moment the fold of a prefix of each stream."""

from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventkit.domain.message import Message
from tests.projection.attack import balances
from tests.projection.shop import Ordered, checkpoints, letters, message, projector, rows, shop

STREAMS, EVENTS = 3, 8
_counter = iter(range(1_000_000))

windows = st.tuples(st.integers(0, STREAMS - 1), st.integers(0, EVENTS), st.integers(1, EVENTS))
amounts = st.lists(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(-2, 2)), min_size=EVENTS, max_size=EVENTS),
    min_size=STREAMS,
    max_size=STREAMS,
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(amounts=amounts, batches=st.lists(st.lists(windows, max_size=6), max_size=8))
def test_the_read_model_is_the_fold(
    url: str, amounts: list[list[tuple[str, int]]], batches: list[list[tuple[int, int, int]]]
) -> None:
    """Under rewinds, repetitions, holes and batches cut anywhere; missing events come at last."""
    run = next(_counter)
    logs = [
        [
            message(f"order-{run}.{number}", place, Ordered(f"{run}{who}", amount))
            for place, (who, amount) in enumerate(log, 1)
        ]
        for number, log in enumerate(amounts)
    ]

    with projector(url, balances()) as running:
        for batch in batches:
            running.apply([item for number, start, length in batch for item in logs[number][start : start + length]])
            assert _read(url, run) == _fold(logs, checkpoints(url))
        running.apply([item for log in logs for item in log])

    assert _read(url, run) == _fold(logs, {log[0].key: (EVENTS, False) for log in logs})
    assert letters(url) == []


def _fold(logs: list[list[Message]], applied: dict[str, tuple[int, bool]]) -> dict[str, int]:
    sums: Counter[str] = Counter()
    for log in logs:
        for item in log[: applied.get(log[0].key, (0, False))[0]]:
            event = shop.decode_data("shop", "Ordered", 1, item.value)
            sums[event.customer] += event.amount
    return {customer: amount for customer, amount in sums.items() if amount}


def _read(url: str, run: int) -> dict[str, int]:
    found = rows(url, "select customer, amount from totals")
    return {customer: amount for customer, amount in found if customer[:-1] == str(run)}
