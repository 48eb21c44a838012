"""${message}.

Describe the change, its locks and their duration, and whether it must run before or after the new code.
"""

import sqlalchemy as sa
from alembic import op

from eventkit.storage.migrate import schema_of

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    schema = schema_of(op.get_context())
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    schema = schema_of(op.get_context())
    ${downgrades if downgrades else "pass"}
