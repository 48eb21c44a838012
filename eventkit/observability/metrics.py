"""All metrics of eventkit: one list, which the page *Metrics* of the documentation explains line by line.

The rooms that count import an instrument from here. `eventkit.health` answers Prometheus with them.
"""

from eventkit.observability.instruments import SIZES, Counter, Gauge, Histogram, Instrument

_PROJECTION = ("projection",)
_LEASE = ("lease",)

# A process that appends: a sink is set by the service itself.
APPENDED = Counter(
    "eventkit_appended_events_total",
    "events",
    "Events that this process has appended, also in transactions that were rolled back.",
)
CONFLICTS = Counter(
    "eventkit_append_conflicts_total",
    "appends",
    "Appends that this process was refused, because a stream had another version than expected.",
)

# The relay.
PUBLISHED = Counter(
    "eventkit_relay_published_events_total", "events", "Events that the broker has acknowledged to this relay."
)
SETTLED = Counter(
    "eventkit_relay_settled_events_total", "events", "Acknowledged events that this relay has removed from the outbox."
)
ACKNOWLEDGED_AFTER = Histogram(
    "eventkit_relay_commit_to_acknowledged_seconds",
    "seconds",
    "Time from an event's recording in the database to the broker's acknowledgement, in samples of each batch.",
)
RELAY_BATCH = Histogram(
    "eventkit_relay_batch_events", "events", "Events in a page that the relay has read from the outbox.", buckets=SIZES
)
READER_GAPS = Gauge(
    "eventkit_relay_reader_gaps", "positions", "Positions below the reader's cursor that an open transaction may fill."
)
SWEPT = Counter(
    "eventkit_relay_swept_events_total", "events", "Events that the reader had skipped and a sweep found; must be 0."
)
HELD_TOPICS = Gauge(
    "eventkit_relay_held_topics", "topics", "Topics that this relay does not send to, because they are unusable."
)
PUBLISHER_FAILURES = Counter(
    "eventkit_relay_publisher_failures_total",
    "failures",
    "Publishers that ended: an event was refused, a topic is held, or the broker was lost.",
    ("kind",),
)

# Leases and loops of the relay, the timers, and projectors that read the store.
LEASE_HELD = Gauge("eventkit_lease_held", "", "1 while this process holds the lease, 0 while it stands by.", _LEASE)
LEASE_EPOCH = Gauge("eventkit_lease_epoch", "", "The epoch in which this process holds or last held the lease.", _LEASE)
WORKER_RETRIES = Counter(
    "eventkit_worker_retries_total",
    "attempts",
    "Times that the process's work has failed and was begun again, mostly for a database or a broker that was away.",
    ("worker",),
)

# The database as a whole: asked by the relay, some of it by projectors and timers too.
INSIGHTS_UP = Gauge("eventkit_insights_up", "", "1 if the database has answered the last questions of this endpoint.")
UNSENT = Gauge("eventkit_outbox_unsent_events", "events", "Events in the outbox: appended, and not settled yet.")
UNSENT_AGE = Gauge("eventkit_outbox_oldest_unsent_age_seconds", "seconds", "Age of the oldest event in the outbox.")
PARTS_MISSING = Gauge(
    "eventkit_relay_parts_without_relay", "parts", "Parts of the streams that need a relay and have none."
)
PUBLISHER_MODE = Gauge(
    "eventkit_publisher_mode",
    "",
    "1 for the mode of publishing (relay, debezium, or a step of a switch), 0 for the others.",
    ("mode",),
)
DEBEZIUM_READS = Gauge(
    "eventkit_debezium_reads", "", "1 while Connect reads the replication slot of Debezium; not in mode `relay`."
)
DEBEZIUM_BEHIND = Gauge(
    "eventkit_debezium_behind_bytes", "bytes", "Write-ahead log that Debezium has not sent yet; not in mode `relay`."
)
PAUSED_TOPICS = Gauge("eventkit_relay_paused_topics", "topics", "Topics whose relaying an operator has paused.")
DEAD_LETTERS = Gauge(
    "eventkit_dead_letters", "events", "Dead letters by who parked them, and by cause.", ("parked_by", "cause")
)
LAG_EVENTS = Gauge(
    "eventkit_projection_lag_events", "events", "Events of the store that the projection has not applied.", _PROJECTION
)
LAG_SECONDS = Gauge(
    "eventkit_projection_lag_seconds", "seconds", "Age of the oldest event that is not applied.", _PROJECTION
)
PARKED_STREAMS = Gauge(
    "eventkit_projection_parked_streams", "streams", "Streams that wait behind a dead letter.", _PROJECTION
)
PAUSED = Gauge("eventkit_projection_paused", "", "1 while an operator has paused the projection.", _PROJECTION)
REBUILD_EVENTS = Gauge(
    "eventkit_projection_rebuild_events", "events", "Events that the running rebuild has to apply.", _PROJECTION
)
REBUILD_DONE = Gauge(
    "eventkit_projection_rebuild_done_events", "events", "Events that the running rebuild has applied.", _PROJECTION
)
TIMERS_OVERDUE = Gauge("eventkit_timers_overdue", "deadlines", "Deadlines that are due and have not fired.")
TIMERS_OVERDUE_AGE = Gauge(
    "eventkit_timers_oldest_overdue_seconds", "seconds", "How long the oldest overdue deadline has been due."
)
INBOX_ROWS = Gauge("eventkit_inbox_rows", "rows", "Messages that the inbox remembers, as an estimate.")

# Projectors.
APPLIED = Counter(
    "eventkit_projection_applied_events_total", "events", "Events that this process has applied.", _PROJECTION
)
DUPLICATES = Counter(
    "eventkit_projection_duplicate_events_total", "events", "Events that came again and were skipped.", _PROJECTION
)
UNKNOWN = Counter(
    "eventkit_projection_unknown_events_total",
    "events",
    "Events at or below a checkpoint that are not provably duplicates.",
    _PROJECTION,
)
UNHANDLED = Counter(
    "eventkit_projection_unhandled_events_total", "events", "Events without a handler in the projection.", _PROJECTION
)
REPAIRED = Counter(
    "eventkit_projection_repaired_events_total",
    "events",
    "Events that the broker did not deliver and the store had.",
    _PROJECTION,
)
PARKED = Counter(
    "eventkit_projection_parked_events_total", "events", "Events that this process has kept as dead letters.",
    _PROJECTION,
)  # fmt: skip
HANDLER_RETRIES = Counter(
    "eventkit_projection_retries_total",
    "attempts",
    "Attempts to apply an event that have failed in its handler.",
    _PROJECTION,
)
WAITING_STREAMS = Gauge(
    "eventkit_projection_waiting_streams",
    "streams",
    "Streams that wait in this process for a retry, a lock or a service that a handler calls.",
    _PROJECTION,
)
PROJECTION_BATCH = Histogram(
    "eventkit_projection_batch_events", "events", "Messages in a batch that was received.", _PROJECTION, SIZES
)
APPLIED_AFTER = Histogram(
    "eventkit_projection_recorded_to_applied_seconds",
    "seconds",
    "Time from an event's recording in the database to the commit of its effect, in samples of each batch.",
    _PROJECTION,
)

# Timers, and every process.
FIRED = Counter("eventkit_timers_fired_total", "deadlines", "Deadlines that this process has fired.")
PROCESS_INFO = Gauge(
    "eventkit_process_info", "", "1, with the process's role and eventkit's version.", ("role", "version")
)

INSTRUMENTS: tuple[Instrument, ...] = tuple(
    value for name, value in sorted(globals().items()) if isinstance(value, Instrument)
)
"""Every instrument, in no order of meaning."""
