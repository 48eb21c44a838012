"""`eventkit privacy`: forget people, and manage the keys that encrypt their personal data."""

import json
import socket
import uuid
from typing import Any

import click

from eventkit.cli.common.operator import acting_user
from eventkit.cli.common.output import confirm, remark, say
from eventkit.config import Settings
from eventkit.errors import StorageError

_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for a script.")

_EXAMPLES = """\b
Examples:
  export EVENTKIT_MASTER_KEYS=$(eventkit privacy new-key 2026)
  eventkit privacy status
  eventkit privacy forget customer-42 --reason "asked for it on the phone"
  EVENTKIT_MASTER_KEYS=$(eventkit privacy new-key 2027),$EVENTKIT_MASTER_KEYS eventkit privacy rotate

Master keys come from EVENTKIT_MASTER_KEYS, or the file that EVENTKIT_MASTER_KEYS_FILE names; the first is current.
"""


@click.group(name="privacy", epilog=_EXAMPLES)
def command() -> None:
    """Forget people, and manage keys."""


@command.command(name="new-key", epilog=_EXAMPLES, short_help="Print a new master key.")
@click.argument("name", required=False, metavar="[ID]")
def new_key(name: str | None) -> None:
    """Print a new master key with the ID (default: a random one) for EVENTKIT_MASTER_KEYS; it is not stored."""
    from eventkit.domain.master_keys import MasterKeys

    say(MasterKeys.generate(name or uuid.uuid4().hex[:8]))


@command.command(epilog=_EXAMPLES, short_help="Make a person's data unreadable for ever.")
@click.argument("subject")
@click.option("--reason", metavar="TEXT", help="The reason, for the record.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_JSON
@click.pass_obj
def forget(settings: Settings, subject: str, *, reason: str | None, yes: bool, as_json: bool) -> None:
    """Destroy the key of SUBJECT: its personal data reads as redacted from now on, in every event.

    Read models keep their rows: delete the data there, or rebuild them. A backup of the table subject_keys still holds
    the key; delete the backup, or the master key that wraps the key.
    """
    from eventkit.storage.db import connect
    from eventkit.storage.forget import forget_steps, on_connection, vacuum
    from eventkit.storage.privacy import KeySql

    sql = KeySql(settings.schema)
    with connect(settings.require_database(), name="privacy", schema=settings.schema) as connection:
        before = connection.execute(sql.show, (subject,)).fetchone()
        connection.rollback()
        if not yes and not (before and before[2]):
            _confirm(subject, before)
        by = f"{acting_user()}@{socket.gethostname()}"
        done = on_connection(connection, forget_steps(sql, subject, reason=reason, by=by))
        _, _, at, who, why = connection.execute(sql.show, (subject,)).fetchone() or (None,) * 5
        connection.commit()
        connection.autocommit = True
        left = vacuum(connection, settings.schema)
    if left:
        remark(left)
    if as_json:
        record = {"forgotten_at": f"{at:%Y-%m-%dT%H:%M:%S%z}", "forgotten_by": who, "reason": why}
        say(json.dumps({"subject": subject, "forgotten_now": done, **record}))
    elif done:
        say(f"{subject} is forgotten; recorded for {who}. Read models keep what they hold: rebuild them")
    else:
        say(f"{subject} was forgotten at {at:%Y-%m-%d %H:%M} by {who} already")


@command.command(epilog=_EXAMPLES, short_help="Wrap all keys by the current master key.")
@_JSON
@click.pass_obj
def rotate(settings: Settings, *, as_json: bool) -> None:
    """Wrap the keys of all subjects by the current master key, the first one given; give the old ones to unwrap them.

    Exit code 1 if open transactions held keys: run it again. It blocks no other transaction.
    """
    from eventkit.storage.db import connect
    from eventkit.storage.forget import rotate as rotate_keys

    masters = settings.require_master_keys()
    url = settings.require_database()
    with connect(url, name="privacy", schema=settings.schema, autocommit=True) as connection:
        rotated = rotate_keys(connection, settings.schema, masters)
    if as_json:
        say(json.dumps({"master_key": masters.current, "rotated": rotated.done, "left": rotated.left}))
    else:
        say(f"{rotated.done} keys are wrapped by {masters.current} now")
    if rotated.left and not as_json:
        raise StorageError(f"{rotated.left} keys were held by open transactions: run `eventkit privacy rotate` again")
    raise SystemExit(rotated.left > 0)


@command.command(epilog=_EXAMPLES, short_help="Count keys by master key, and the forgotten.")
@_JSON
@click.pass_obj
def status(settings: Settings, *, as_json: bool) -> None:
    """Print the number of subjects' keys by the master key that wraps them, and the number of forgotten subjects.

    A master key that wraps no key may be destroyed.
    """
    from eventkit.storage.db import connect
    from eventkit.storage.privacy import KeySql

    with connect(settings.require_database(), name="privacy", schema=settings.schema) as connection:
        counts = dict(connection.execute(KeySql(settings.schema).count).fetchall())
    forgotten = counts.pop(None, 0)
    given = settings.master_keys
    counts |= {given.current: counts.get(given.current, 0)} if given else {}
    if as_json:
        say(json.dumps({"keys": counts, "forgotten": forgotten, "current": given.current if given else None}))
        return
    for name, count in counts.items():
        mark = " (current)" if given and name == given.current else ""
        say(f"master key {name}{mark}: wraps {count} keys")
    say(f"forgotten: {forgotten} subjects")


def _confirm(subject: str, before: tuple[Any, ...] | None) -> None:
    known = f"it has a key since {before[0]:%Y-%m-%d}" if before else "it has no personal data yet: none will be taken"
    confirm(f"Forget {subject} for ever? ({known})")
