"""Every supported type in every position, in each kind of class, beside random ids: equal values and stable bytes.

    python -m tests.domain.codec.campaign --examples 100000 --processes 2

An example is a class of one of three kinds (dataclass, Struct, Pydantic model) with an id and a field, and values for
them. An accepted value must come back equal, from its own JSON and from that of jsonb, and must be written
again with the same bytes; any value that the type and JSON can hold must be accepted. Tests run a short form.

Examples are drawn in pages, each with a seed of its own: hypothesis remembers all that it has drawn in one run, and
looks through it for the next. Most of the time goes into making classes.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import make_dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any
from uuid import UUID, uuid4

import click
import msgspec
import pydantic
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from eventkit import InvalidEvent, StreamId
from eventkit.domain.codec.codec import Codec
from tests.domain.codec.happenings import Line
from tests.domain.codec.test_codec_roundtrip import LEAVES, Kind, as_postgres_gives_it, containers, is_same

PAGE = 500  # examples of one run of hypothesis
PART = 5_000  # examples that a process takes at once
KINDS = ("dataclass", "struct", "pydantic")
IDS: list[Kind] = [
    (UUID, st.builds(uuid4)),
    (str, st.builds(lambda: uuid4().hex)),
    (str, st.builds(lambda: str(uuid4()))),
]
REFUSED = (
    "no such number",
    "NUL",
    "surrogate",
    "(datetime), which would",
    "surrogates not allowed",
    "Error serializing to JSON: in",
)


@lru_cache(maxsize=1_000)  # of some 30,000, which would not fit into memory
def codec(form: str, beside: Any, kind: Any) -> tuple[Callable[..., Any], Codec]:
    """Return how an event of a class with these two fields is made, and the class's codec."""
    if form == "dataclass":
        cls: Any = make_dataclass("Happened", [("id", beside), ("field", kind)], frozen=True)
    elif form == "struct":
        cls = msgspec.defstruct("Happened", [("id", beside), ("field", kind)], frozen=True)
    else:
        cls = pydantic.create_model("Happened", id=(beside, ...), field=(kind, ...))
    return cls, Codec(cls)


@st.composite
def examples(draw: st.DrawFn) -> tuple[str, Any, Any, Any, Any]:
    """Draw the form of a class, two types and their values; Pydantic knows neither StreamId nor Structs."""
    form = draw(st.sampled_from(KINDS))
    leaves = [leaf for leaf in LEAVES if form != "pydantic" or leaf[0] not in (StreamId, Line)]
    kind, values = draw(st.sampled_from(leaves).flatmap(containers).flatmap(containers))
    beside, ids = draw(st.sampled_from(IDS))
    return form, beside, draw(ids), kind, draw(values)


def check(example: tuple[str, Any, Any, Any, Any]) -> str:
    """Check one example against the promise; return the result."""
    form, beside, event_id, kind, value = example
    make, one = codec(form, beside, kind)
    try:
        event = make(id=event_id, field=value)
    except pydantic.ValidationError:
        return "no value of the model's"
    try:
        data = one.encode(event)
    except InvalidEvent as error:
        if any(reason in str(error) for reason in REFUSED):
            return "refused"
        raise
    for text in (data, as_postgres_gives_it(data).decode()):
        back = one.decode(text)
        assert is_same(event.field, back.field), (event, back)
        assert back.id == event.id
        again = one.encode(back)
        assert again == data or _unordered(again) == _unordered(data), (data, again)
    return "equal"


def _unordered(data: bytes) -> Any:
    """Read JSON without the order of keys, which jsonb has changed; numbers by their value."""
    return json.loads(data, parse_float=Decimal)


def run(count: int, *, start: int = 0) -> Counter[str]:
    """Check so many examples; return their results. The same start draws the same examples."""
    found: Counter[str] = Counter()
    for left in range(count, 0, -PAGE):
        _page(min(PAGE, left), found, start=start + left)
    return found


def _page(count: int, found: Counter[str], *, start: int) -> None:
    @seed(start)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(examples())
    def campaign(example: tuple[str, Any, Any, Any, Any]) -> None:
        found[f"{example[0]}: {check(example)}"] += 1

    campaign()


@click.command()
@click.option("--examples", "count", default=100_000, show_default=True, type=click.IntRange(min=1))
@click.option("--processes", default=1, show_default=True, type=click.IntRange(min=1))
@click.option("--seed", "start", default=0, show_default=True, help="The same seed draws the same examples.")
def main(count: int, processes: int, start: int) -> None:
    """Check so many examples; print their results."""
    found: Counter[str] = Counter()
    began = time.monotonic()
    with ProcessPoolExecutor(processes) as pool:
        parts = range(0, count, PART)
        runs = [pool.submit(run, min(PART, count - first), start=start + first) for first in parts]
        for part in runs:
            found += part.result()
            click.echo(f"{sum(found.values()):8,}  {time.monotonic() - began:.0f} s", err=True)
    for what, number in sorted(found.items()):
        click.echo(f"{number:8,}  {what}")
    click.echo(f"{sum(found.values()):8,}  examples in {time.monotonic() - began:.0f} s: none is wrong")


if __name__ == "__main__":
    sys.exit(main())
