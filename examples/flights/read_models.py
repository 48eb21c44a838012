"""Three read models, each a table and a few functions: `eventkit projector run` feeds them.

Many flights feed one row. The functions add, so their result does not depend on the order between flights.
"""

from datetime import date
from typing import ClassVar

from sqlalchemy import MetaData, Table
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from eventkit import TableProjection
from examples.flights.events import (
    RUN,
    FlightArrived,
    FlightCancelled,
    FlightDeparted,
    FlightDiverted,
    FlightScheduled,
    flights,
)

LATE = 15  # minutes, as the airlines count it


class ReadModel(DeclarativeBase):
    """Tables that only the projector writes; here the classes serve to name columns and types."""

    metadata = MetaData(schema=RUN)
    __table__: ClassVar[Table]


class CarrierDelays(ReadModel):
    """How punctual a carrier is."""

    __tablename__ = "carrier_delays"

    carrier: Mapped[str] = mapped_column(primary_key=True)
    arrived: Mapped[int] = mapped_column(default=0)
    late: Mapped[int] = mapped_column(default=0)
    delay_minutes: Mapped[int] = mapped_column(default=0)
    diverted: Mapped[int] = mapped_column(default=0)


class DepartureBoard(ReadModel):
    """The figures of an airport's board for a day."""

    __tablename__ = "departure_boards"

    origin: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    scheduled: Mapped[int] = mapped_column(default=0)
    departed: Mapped[int] = mapped_column(default=0)
    cancelled: Mapped[int] = mapped_column(default=0)
    delay_minutes: Mapped[int] = mapped_column(default=0)


class Cancellations(ReadModel):
    """How many of a day's flights never left."""

    __tablename__ = "cancellations"

    day: Mapped[date] = mapped_column(primary_key=True)
    scheduled: Mapped[int] = mapped_column(default=0)
    cancelled: Mapped[int] = mapped_column(default=0)


delays = TableProjection(f"{RUN}_delays", flights, table=CarrierDelays.__table__, key="carrier")
boards = TableProjection(f"{RUN}_boards", flights, table=DepartureBoard.__table__, key=("origin", "day"))
cancellations = TableProjection(f"{RUN}_cancellations", flights, table=Cancellations.__table__, key="day")
projections = (delays, boards, cancellations)


@delays.on(FlightArrived)
def arrived(row: CarrierDelays, event: FlightArrived) -> None:
    row.arrived += 1
    row.late += event.delay > LATE
    row.delay_minutes += event.delay


@delays.on(FlightDiverted)
def diverted(row: CarrierDelays, _event: FlightDiverted) -> None:
    row.diverted += 1


@boards.on(FlightScheduled)
def put_on_board(row: DepartureBoard, _event: FlightScheduled) -> None:
    row.scheduled += 1


@boards.on(FlightDeparted)
def departed(row: DepartureBoard, event: FlightDeparted) -> None:
    row.departed += 1
    row.delay_minutes += event.delay


@boards.on(FlightCancelled)
def cancelled(row: DepartureBoard, _event: FlightCancelled) -> None:
    row.cancelled += 1


@cancellations.on(FlightScheduled)
def planned(row: Cancellations, _event: FlightScheduled) -> None:
    row.scheduled += 1


@cancellations.on(FlightCancelled)
def never_left(row: Cancellations, _event: FlightCancelled) -> None:
    row.cancelled += 1
