"""Reads one stream: its version, how far projections have applied it, its dead letters and deadlines."""

from eventkit.insights.answers import StreamInsight, StreamPlace
from eventkit.insights.dead_letters.letter_groups import parked_by_names
from eventkit.insights.reader import InsightReader

_STREAM = """select s.version, s.pruned_to, s.closed,
       (select recorded_at from {s}.events e where e.stream = s.stream order by version desc limit 1)
  from {s}.streams s where s.stream = %(stream)s"""
_PLACES = """select p.name, c.version, c.parked from {s}.projections p
  join {s}.checkpoints c on c.generation = p.generation and c.stream = %(stream)s order by p.name limit 1000"""
_LETTERS = "select from {s}.dead_letters where parked_by = any(%(names)s::text[]) and stream = %(stream)s"
_DEADLINES = "select from {s}.timers where stream = %(stream)s"


def stream(reader: InsightReader, name: str) -> StreamInsight | None:
    """Return a stream; None where it does not exist."""
    rows = reader.rows(_STREAM, {"stream": name})
    if not rows:
        return None
    version, pruned_to, is_closed, recorded_at = rows[0]
    places = reader.rows(_PLACES, {"stream": name})
    return StreamInsight(
        stream=name,
        category=name.partition("-")[0],
        version=version,
        pruned_to=pruned_to,
        is_closed=is_closed,
        last_recorded_at=recorded_at,
        places=tuple(StreamPlace(projection=by, version=upto, is_parked=parked) for by, upto, parked in places),
        dead_letters=reader.amount(_LETTERS, {"names": parked_by_names(reader, None), "stream": name}),
        deadlines=reader.amount(_DEADLINES, {"stream": name}),
    )
