"""Storage parameters of tables: how PostgreSQL vacuums them, and the room that it leaves in a page."""

STORAGE = "storage"  # the key of a table's storage parameters in its `info`: SQLAlchemy 2.0 cannot declare them

# Outbox rows are inserted and deleted all the time: vacuum by the number of dead rows, at full speed, for every size.
OUTBOX_STORAGE = {
    "autovacuum_vacuum_scale_factor": "0.0",
    "autovacuum_vacuum_threshold": "10000",
    "autovacuum_vacuum_cost_delay": "0",
    "autovacuum_analyze_scale_factor": "0.0",
    "autovacuum_analyze_threshold": "50000",
}
# Every append or batch updates such a row: room for HOT updates in its page, and vacuum before the table doubles.
UPDATED_STORAGE = {
    "fillfactor": "70",
    "autovacuum_vacuum_scale_factor": "0.05",
    "autovacuum_vacuum_cost_delay": "0",
}
# Rows are inserted and deleted, and the table stays small: vacuum before it has many dead rows.
SHORT_LIVED_STORAGE = {"autovacuum_vacuum_scale_factor": "0.05", "autovacuum_vacuum_cost_delay": "0"}

# A destroyed key is a dead row: vacuum at the first one, not at a fifth of the table.
SECRET_STORAGE = {"autovacuum_vacuum_scale_factor": "0.0", "autovacuum_vacuum_threshold": "0"}
