"""The relay empties the outbox: read, publish, settle. It needs none of the service's code."""

from eventkit.relay.claims import Claims
from eventkit.relay.relay import Relay

__all__ = ["Claims", "Relay"]
