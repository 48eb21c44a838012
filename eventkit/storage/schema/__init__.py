"""The tables of an installation: comparison with the code, sizes, roles, the installation's id."""

from eventkit.storage.schema.health import SOME, Health, ReplicationSlot
from eventkit.storage.schema.installation import Installation, adopt, look, refuse_moved, remember, unknown_server
from eventkit.storage.schema.roles import create_roles, incomplete, purposes, role_statements
from eventkit.storage.schema.sizes import Sizes, table_sizes
from eventkit.storage.schema.verify import differences, notes

__all__ = [
    "SOME",
    "Health",
    "Installation",
    "ReplicationSlot",
    "Sizes",
    "adopt",
    "create_roles",
    "differences",
    "incomplete",
    "look",
    "notes",
    "purposes",
    "refuse_moved",
    "remember",
    "role_statements",
    "table_sizes",
    "unknown_server",
]
