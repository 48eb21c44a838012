"""Messages that hypothesis makes up, valid, nearly valid and random, with good events before and behind them."""

from collections.abc import Iterator, Sequence

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from eventkit.projection.define.projection import Projection
from eventkit.transports import Transport
from tests.hostile.foreign import Foreign, Send
from tests.hostile.kinds import EVERYWHERE, ODD, event
from tests.hostile.reading import Fate, swallow

_SHORT = 255  # bytes of an AMQP name
PAGE = 200  # messages between two good events
_NAMES = [name for name, _ in event().headers] + [
    "ce_dataschemaversion", "ce_correlationid", "ce_causationid", "ce_traceparent", "ce_metadata", "ce_replyto",
    "ce_outcome", "trace", "",
]  # fmt: skip
_texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.sampled_from(["1", "2", "0", "-1", "1.0", str(2**31), "2016-12-31T23:59:60Z", "{}", "x" * 3000]),
)
_keys = st.one_of(st.sampled_from(["order-odd", "order-1", "order", ""]), _texts, st.binary(max_size=40))
_near = st.one_of(st.integers(0, 10**9).map(lambda number: f"order-{number}"), _keys)
_values = st.one_of(st.just(ODD), st.binary(max_size=100), st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3), max_leaves=6,
).map(lambda value: repr(value).encode()))  # fmt: skip


@st.composite
def foreign(draw: st.DrawFn, *, odd: bool) -> Foreign:
    """Return one message; `odd` where the broker takes header values that are no text."""
    kind = draw(st.sampled_from([0, 1, 1, 2, 3]))
    value = st.one_of(_texts, st.binary(max_size=40), st.none()) if odd else _texts
    if kind == 0:
        kinds = [each for some in EVERYWHERE.values() for each in some]
        return kinds[draw(st.integers(0, len(kinds) - 1))]
    if kind == 1:
        names = draw(st.lists(st.sampled_from(_NAMES), max_size=3))
        more = {name: draw(value) for name in names}
        return event(draw(_near), draw(st.sampled_from([1, 1, 1, 2])), draw(_values), **more)
    names = draw(st.lists(st.sampled_from(_NAMES) if kind == 2 else _texts, max_size=10))
    return Foreign(draw(_keys), draw(_values), [(name, draw(value)) for name in names])


def made_up(number: int, *, odd: bool, start: int) -> list[Foreign]:
    """Return so many messages; the same for the same start."""
    found: list[Foreign] = []

    @seed(start)
    @settings(max_examples=number, database=None, deadline=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(foreign(odd=odd))
    def collect(message: Foreign) -> None:
        found.append(message)

    collect()
    return found


def pages(broker: str, *, number: int, start: int) -> Iterator[list[Foreign]]:
    """Yield made-up messages that a broker's client can send."""
    odd = broker in ("kafka", "rabbitmq", "local")
    left = number
    while left > 0:
        page = made_up(min(PAGE, left), odd=odd, start=start + left)
        left -= PAGE
        yield _sendable(page, broker)


def run(
    url: str, transport: Transport, send: Send, pages: Iterator[list[Foreign]], projection: Projection | None = None
) -> Iterator[Fate]:
    """Send made-up messages page by page; AssertionError where a good event behind a page is not applied."""
    for page in pages:
        yield swallow(url, transport, send, page, projection)


def _sendable(messages: Sequence[Foreign], broker: str) -> list[Foreign]:
    """Leave out names that the broker's client refuses: with NUL, or of more than 255 bytes."""

    def takes(name: str) -> bool:
        return "\0" not in name and (broker != "rabbitmq" or len(name.encode()) <= _SHORT)

    return [each for each in messages if all(takes(name) for name, _ in each.headers)]
