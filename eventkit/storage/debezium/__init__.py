"""Debezium in place of the relay: the mode, the switch between the two, and the connector's configuration."""

from eventkit.storage.debezium.connector import Connector, connector_config
from eventkit.storage.debezium.mode import FOR_DEBEZIUM, FOR_RELAY, RELAY_SENDS, Mode, read_mode, slot_name
from eventkit.storage.debezium.slot import Slot, read_slot
from eventkit.storage.debezium.switch import Switch

__all__ = [
    "FOR_DEBEZIUM",
    "FOR_RELAY",
    "RELAY_SENDS",
    "Connector",
    "Mode",
    "Slot",
    "Switch",
    "connector_config",
    "read_mode",
    "read_slot",
    "slot_name",
]
