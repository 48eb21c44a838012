"""The cost of encoding and decoding an event, and how little it depends on the content of texts and numbers.

No server: the codec alone, with its checks, on one core. Worst cases are events of the same class and about the same
size as the plain one. `raw` is msgspec's or Pydantic's own encoder and decoder, without any check.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

import click
import msgspec
import pydantic
from rich.console import Console
from rich.table import Table

from benchmarks.measure import last_line
from eventkit.domain.codec.codec import Codec

PLAIN, RAW = "plain", "raw"
NOTES = """\
CPU time an event, median of the rounds; `ratio` is that to the plain event of its class, in the same round
events of some 600 bytes; large ones of some 20 KB; decoding is of the event's own JSON"""


class Line(msgspec.Struct, frozen=True):
    note: str
    number: int
    price: float


@dataclass(frozen=True)
class Noted:
    order: str
    prices: list[float]
    lines: list[Line]


class Untyped(msgspec.Struct, frozen=True):
    order: str
    prices: list[float]
    lines: Any


class LineModel(pydantic.BaseModel):
    note: str
    number: int
    price: float


class Modelled(pydantic.BaseModel):
    order: str
    prices: list[float]
    lines: list[LineModel]


Ways = tuple[Callable[[Any], Any], Callable[[Any], Any]]
"""How an event is encoded and decoded."""


class Texts(NamedTuple):
    """The texts and the numbers of an event."""

    order: str
    note: str
    price: float


CASES = {
    PLAIN: Texts("abcdabcd-abcd-abcd-abcd-abcdabcdabcd", "two of them in blue", 12.5),
    "digits, e, digits": Texts("abcdabcd-1e5d-4e44-9e9e-abcdabcd1e16", "no. 1e5 or 2e16 ones", 12.5),
    "like numbers": Texts("[1e16,2e16]:3e16,4e16,5e16]:6e16,7e1", ":1e16,[2e16],3e16,x", 12.5),
    "quotes, backslashes": Texts('abc"abcd-a\\cd-a"cd-abcd-ab"dab\\dabcd', 'two "of\\ them" in bl', 12.5),
    "NaN, Infinity": Texts("nan inf NaN Infinity abcd nan inf abc", "nanny has Infinity", 12.5),
    "an int as a float": Texts("abcdabcd-abcd-abcd-abcd-abcdabcdabcd", "two of them in blue", 12),
}


def event_of(cls: type, texts: Texts, lines: int) -> Any:  # noqa: ANN401 one of the classes above
    """Make an event; large ones have many lines."""
    given = [{"note": texts.note, "number": number, "price": texts.price} for number in range(lines)]
    if cls is Modelled:
        return Modelled(order=texts.order, prices=[texts.price] * 4, lines=[LineModel(**line) for line in given])  # type: ignore[arg-type]
    return cls(texts.order, [texts.price] * 4, [Line(**line) for line in given] if cls is Noted else given)  # type: ignore[arg-type]


def raw_of(cls: Any) -> Ways:  # noqa: ANN401 a class of either kind
    """Return the library's own encoder and decoder."""
    if cls is Modelled:
        return Modelled.model_dump_json, Modelled.model_validate_json
    return msgspec.json.Encoder().encode, msgspec.json.Decoder(cls).decode


def microseconds(function: Callable[[Any], object], given: object, seconds: float) -> float:
    """Return the CPU time of a call, from as many as take so long."""
    calls, used = 0, 0.0
    began = time.process_time()
    while used < seconds:
        for _ in range(20):
            function(given)
        calls += 20
        used = time.process_time() - began
    return used / calls * 1e6


class CodecRun:
    """Rounds over all classes, sizes and cases; plain events stand beside the others in each."""

    def __init__(self, seconds: float) -> None:
        """Measure each for so long a round."""
        self._seconds = seconds
        self.found: dict[tuple[str, str, str, str], list[float]] = {}  # class, size, case, way: microseconds

    def round(self) -> None:
        """Measure everything once."""
        for cls in (Noted, Untyped, Modelled):
            for size, lines in (("small", 9), ("large", 400)):
                codec = Codec(cls)
                plain = event_of(cls, CASES[PLAIN], lines)
                self._both((cls.__name__, size, RAW), raw_of(cls), plain)
                for case, texts in CASES.items():
                    ways = codec.encode, codec.decode
                    self._both((cls.__name__, size, case), ways, event_of(cls, texts, lines))

    def worst(self) -> tuple[float, str]:
        """Return the largest ratio of a case to its plain event, and whose it is."""
        ratios = {key: self.ratio(key) for key in self.found if key[2] not in (PLAIN, RAW)}
        key = max(ratios, key=lambda one: ratios[one])
        return ratios[key], ", ".join(key)

    def ratio(self, key: tuple[str, str, str, str]) -> float:
        """Return the median of a case's ratios to the plain event of its round."""
        plain = self.found[key[0], key[1], PLAIN, key[3]]
        return median(one / other for one, other in zip(self.found[key], plain, strict=True))

    def table(self) -> Table:
        """Return all figures."""
        table = Table("class", "size", "event", "encode µs", "ratio", "decode µs", "ratio")
        for name, size, case, way in self.found:
            if way == "encode":
                keys = [(name, size, case, each) for each in ("encode", "decode")]
                cells = [cell for key in keys for cell in (f"{median(self.found[key]):.1f}", f"{self.ratio(key):.2f}")]
                table.add_row(name, size, case, *cells)
        return table

    def figures(self) -> dict[str, Any]:
        """Return the figures for `--json`."""
        worst, whose = self.worst()
        return {
            "codec_worst_ratio": round(worst, 2),
            "codec_worst_case": whose,
            "codec_microseconds": {", ".join(key): round(median(found), 2) for key, found in self.found.items()},
        }

    def _both(self, name: tuple[str, str, str], ways: Ways, event: Any) -> None:  # noqa: ANN401 one of the classes above
        encode, decode = ways
        for way, function, given in (("encode", encode, event), ("decode", decode, encode(event))):
            self.found.setdefault((*name, way), []).append(microseconds(function, given, self._seconds))


@click.command()
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(min=1))
@click.option(
    "--seconds", default=0.05, show_default=True, type=click.FloatRange(min=0.001), help="Of each measurement."
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as one JSON object on the last line.")
def command(rounds: int, seconds: float, *, as_json: bool) -> None:
    """Encode and decode events, plain ones and the worst."""
    run = CodecRun(seconds)
    for _ in range(rounds):
        run.round()
    console = Console()
    console.print(run.table())
    console.print(NOTES)
    worst, whose = run.worst()
    console.print(f"the worst case takes {worst:.2f} times its plain event: {whose}")
    if as_json:
        last_line(run.figures())
