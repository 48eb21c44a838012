"""Debezium in place of the relay: the mode, the switch between the two, and the connector's configuration."""

from eventkit.storage.debezium.connector import Connector, connector_config, heartbeat_topic
from eventkit.storage.debezium.mode import (
    FOR_DEBEZIUM,
    FOR_RELAY,
    MODE,
    RELAY_SENDS,
    SENDERS,
    Mode,
    read_mode,
    slot_name,
)
from eventkit.storage.debezium.send_again import SendAgain
from eventkit.storage.debezium.sent import unsent_by_debezium
from eventkit.storage.debezium.slot import ConnectSlot, Replication
from eventkit.storage.debezium.switch import Switch, is_switching

__all__ = [
    "FOR_DEBEZIUM",
    "FOR_RELAY",
    "MODE",
    "RELAY_SENDS",
    "SENDERS",
    "ConnectSlot",
    "Connector",
    "Mode",
    "Replication",
    "SendAgain",
    "Switch",
    "connector_config",
    "heartbeat_topic",
    "is_switching",
    "read_mode",
    "slot_name",
    "unsent_by_debezium",
]
