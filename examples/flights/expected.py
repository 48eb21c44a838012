"""The expected read models, computed by pandas from the raw rows alone: nothing here knows of events.

Each function returns rows as they are in the table of the same name: a key and its numbers.
"""

from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

from examples.flights.read_models import LATE

if TYPE_CHECKING:
    import pandas as pd

Rows = Mapping[Any, tuple[int, ...]]


def read_models(frame: "pd.DataFrame") -> dict[str, Rows]:
    """Return every read model's rows, by the name of its table."""
    frame = frame.assign(
        date=[date(*ymd) for ymd in zip(frame.year, frame.month, frame.day, strict=True)],
        departed=frame.dep_time.notna(),
        cancelled=frame.dep_time.isna(),
        diverted=frame.dep_time.notna() & frame.arr_delay.isna(),
        arrived=frame.arr_delay.notna(),
        late=frame.arr_delay > LATE,
    )
    return {
        "carrier_delays": carrier_delays(frame),
        "departure_boards": departure_boards(frame),
        "cancellations": cancellations(frame),
    }


def events(frame: "pd.DataFrame") -> int:
    """Return how many events the rows make: a cancelled flight has two, any other three."""
    return int(3 * len(frame) - frame.dep_time.isna().sum())


def carrier_delays(frame: "pd.DataFrame") -> Rows:
    """Add up the delays at arrival; a carrier whose flights were all cancelled has no row."""
    flown = frame[frame.departed]
    return _rows(flown.groupby("carrier").agg({"arrived": "sum", "late": "sum", "arr_delay": "sum", "diverted": "sum"}))


def departure_boards(frame: "pd.DataFrame") -> Rows:
    """Count departures and add up their delays, per airport and day."""
    numbers = {"carrier": "size", "departed": "sum", "cancelled": "sum", "dep_delay": "sum"}
    return _rows(frame.groupby(["origin", "date"]).agg(numbers))


def cancellations(frame: "pd.DataFrame") -> Rows:
    """Count planned flights and cancelled ones, per day."""
    return _rows(frame.groupby("date").agg({"carrier": "size", "cancelled": "sum"}))


def _rows(sums: "pd.DataFrame") -> Rows:
    return {row[0]: tuple(map(int, row[1:])) for row in sums.itertuples(name=None)}
