"""The events of a flight: a stream per flight (`flight-2013-01-31-UA-1545-EWR`), a class per kind of fact.

Events carry the values by which readers find the right row of a read model: the carrier, the airport, the day.
"""

import os
from dataclasses import dataclass
from datetime import date, time

from eventkit import Catalog

RUN = os.environ.get(
    "FLIGHTS_RUN", "flights"
)  # on a shared server each run has names of its own: schema, topics, projections
flights = Catalog(RUN)


@flights.event
@dataclass(frozen=True)
class FlightScheduled:
    """The airline put a flight on its plan; times are local to the airport."""

    carrier: str
    number: int
    origin: str
    destination: str
    day: date
    departure: time
    arrival: time


@flights.event
@dataclass(frozen=True)
class FlightDeparted:
    """It left, `delay` minutes late (early if below zero)."""

    carrier: str
    origin: str
    day: date
    at: time
    delay: int


@flights.event
@dataclass(frozen=True)
class FlightArrived:
    """It reached its destination."""

    carrier: str
    destination: str
    day: date
    at: time
    delay: int


@flights.event
@dataclass(frozen=True)
class FlightDiverted:
    """It did not go straight to its destination; when it got there, if it did, is all that is known."""

    carrier: str
    destination: str
    day: date
    at: time | None


@flights.event
@dataclass(frozen=True)
class FlightCancelled:
    """It never left."""

    carrier: str
    origin: str
    day: date


Fact = FlightScheduled | FlightDeparted | FlightArrived | FlightDiverted | FlightCancelled
