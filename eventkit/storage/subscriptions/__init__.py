"""Live subscriptions to the event store without a broker."""

from eventkit.storage.subscriptions.database_address import Database, address_of
from eventkit.storage.subscriptions.live_logs import LiveLogs
from eventkit.storage.subscriptions.subscription import Follower, LiveSubscription, wanted_by

__all__ = ["Database", "Follower", "LiveLogs", "LiveSubscription", "address_of", "wanted_by"]
