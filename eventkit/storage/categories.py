"""The categories of streams that an event store has, and whose events they are: what a projector subscribes to.

A loose scan over the streams' primary key: one step a category, however many streams there are.
"""

from collections.abc import Iterator
from typing import Any

import psycopg

from eventkit.storage.connection import database_errors

# By the primary key; "." is the character after the "-" that ends a category, so "order." is above every stream of
# "order".
_NEXT = """
select split_part(s.stream, '-', 1), e.source
  from {s}.streams s join {s}.events e on e.stream = s.stream and e.version = 1
 where s.stream >= %s order by s.stream limit 1
"""


def categories(connection: psycopg.Connection[Any], schema: str) -> Iterator[tuple[str, str]]:
    """Yield each category, with the source of the first event of its first stream."""
    statement = _NEXT.format(s=f'"{schema}"').encode()
    above = ""
    with database_errors():
        while row := connection.execute(statement, (above,)).fetchone():
            yield row
            above = f"{row[0]}."
