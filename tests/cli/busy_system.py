"""A database in which everything goes on at once, with control characters wherever another process can write text."""

import json
import uuid
from typing import Any

import psycopg

from eventkit import EventStore, Metadata
from tests.projection.shop import Ordered, shop

EVIL = "\x1b[2J\x1b]0;owned\x07\u202e\x9b31m[bold]"  # clears the screen, names the window, turns text around
SECRET = "ann@example.com"
STORY = str(uuid.UUID(int=7))

_FILL = """
insert into eventkit.projections (name, kind, catalog, declared_version, server, position)
  values ('totals', 'table projection', 'shop', 1, 'x', 0), ('board', 'table projection', 'shop', 2, 'x', 0);
insert into eventkit.topics (topic) values ('shop.order'), ('shop.visit');
insert into eventkit.held_topics (topic, reason) values ('shop.order', %(evil)s);
insert into eventkit.leases (name, epoch, owner, expires_at)
  values ('relay 0/1', 3, %(evil)s, clock_timestamp() + interval '1 hour');
insert into eventkit.pauses (kind, name, paused_by, reason)
  values ('projection', 'totals', 'ann', %(evil)s), ('topic', 'shop.visit', %(evil)s, 'a wrong price');
insert into eventkit.processes (id, role, name, host, pid, version, started_at, seen_at, state) values
  (gen_random_uuid(), 'relay', 'relay', %(evil)s, 17, '0.1', now() - interval '2 hours', now(), '{"rate": 12}'),
  (gen_random_uuid(), 'projector', %(evil)s, 'db-1', 18, '0.1', now() - interval '2 hours', now() - interval '1 hour',
   '{}');
insert into eventkit.dead_letters (parked_by, stream, version, event_id, type, cause, error, attempts, event, data)
  select 'projection:totals:' || generation, 'order-' || %(evil)s, 2, gen_random_uuid(), %(evil)s, 'failed',
         %(evil)s, 3, '{"topic": "shop.order", "key": "k", "headers": {}}', '{}'
    from eventkit.projections where name = 'totals';
insert into eventkit.events (id, source, stream, version, type, schema_version, data, metadata)
  values (%(id)s, %(evil)s, 'visit-' || %(evil)s, 1, %(evil)s, 1, %(data)s, %(metadata)s)
"""


def fill(url: str) -> list[str]:
    """Fill a database; return the ids of a story of three events, and of one whose producer is hostile."""
    store = EventStore(shop)
    ids: list[str] = []
    with psycopg.connect(url) as connection:
        for number in range(3):
            metadata = Metadata(correlation_id=STORY, causation_id=ids[-1] if ids else None, extra={"user": SECRET})
            done = store.append(connection, shop.stream("order", number), Ordered(SECRET, number), metadata=metadata)
            ids.append(str(done.ids[0]))
        ids.append(str(uuid.uuid4()))
        values: dict[str, Any] = {
            "evil": EVIL,
            "id": ids[-1],
            "data": json.dumps({"customer": f"{SECRET}{EVIL}"}),
            "metadata": json.dumps({"correlation_id": EVIL, "causation_id": EVIL, "user": EVIL}),
        }
        for statement in _FILL.split(";\n"):
            connection.execute(statement.encode(), values)
    return ids
