"""Who publishes the events: a field of the installation's row, which every append reads in its own statement.

    relay         an append writes an outbox row                     the relay sends
    to debezium   an outbox row and a message for Debezium           the relay sends; the connector may not start
    both          both                                               both send
    to relay      both                                               Debezium sends; the relay waits
    debezium      a message for Debezium                             Debezium sends; the relay waits

In the three modes between, each side has all events that the other one has, from some moment on. So a switch may be
ended in any of them, and turned back. Each event is sent by at least one side, and `eventkit.storage.debezium.switch`
holds each side back until the other one has sent all earlier events.
"""

import zlib
from enum import StrEnum
from typing import Any

import psycopg

from eventkit.storage.db import database_errors, in_schema

# The mode in a statement, in the schema `s`, and conditions on it. A missing row counts as the mode `relay`.
MODE = "(select mode from {s}.installation)"
FOR_RELAY = "{mode} is distinct from 'debezium'"
FOR_DEBEZIUM = "{mode} <> 'relay'"
RELAY_SENDS = "coalesce((select mode from {s}.installation), 'relay') in ('relay', 'to debezium', 'both')"

_READ = "select mode from {s}.installation"
_MAX_PREFIX = 40  # characters of a slot's name
_NAME = "select oid::bigint from pg_database where datname = current_database()"


class Mode(StrEnum):
    """The modes, as `installation.mode` has them."""

    RELAY = "relay"
    TO_DEBEZIUM = "to debezium"
    BOTH = "both"
    TO_RELAY = "to relay"
    DEBEZIUM = "debezium"


SENDERS = {  # who sends the events in each mode
    Mode.RELAY: "the relay sends the events",
    Mode.TO_DEBEZIUM: "the relay sends the events; a switch to Debezium is under way",
    Mode.BOTH: "relay and Debezium send the events; a switch is under way",
    Mode.TO_RELAY: "Debezium sends the events; a switch to the relay is under way",
    Mode.DEBEZIUM: "Debezium sends the events",
}


def read_mode(connection: psycopg.Connection[Any], schema: str) -> Mode:
    """Return the mode."""
    with database_errors():
        (mode,) = connection.execute(in_schema(_READ, schema)).fetchone() or (Mode.RELAY,)
    return Mode(mode)


def slot_name(connection: psycopg.Connection[Any], schema: str) -> str:
    """Return the name of the replication slot and of the publication; slots of all databases share their names.

    A slot's name has small letters, digits and underscores. Schemas that differ in other ways have a checksum in it.
    """
    with database_errors():
        (oid,) = connection.execute(_NAME.encode()).fetchone() or (0,)
    plain = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in schema.lower())
    if plain[:_MAX_PREFIX] != schema:
        plain = f"{plain[: _MAX_PREFIX - 9]}_{zlib.crc32(schema.encode()):08x}"
    return f"{plain}_debezium_{oid}"
