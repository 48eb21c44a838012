"""Events as lines, in full, or as JSON; data and the user's metadata are masked without --payload."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from eventkit.cli.common.output import cell
from eventkit.cli.dead_letters.show import MASK, shown
from eventkit.domain.envelope import EncodedEvent
from eventkit.insights import EventInsight


def fields(event: EventInsight, *, payload: bool) -> dict[str, Any]:
    """Return an event as an object for a script; names of its data's fields stay, their values are masked."""
    found: dict[str, Any] = msgspec.to_builtins(event)
    if event.data is not None:
        found["data"] = shown(event.data.encode(), payload=payload)
    if event.metadata is not None:
        found["metadata"] = event.metadata if payload else dict.fromkeys(event.metadata, MASK)
    return {name: value for name, value in found.items() if value is not None}


def json_of(found: Any) -> str:  # noqa: ANN401 JSON
    """Return JSON on one line."""
    return json.dumps(found, ensure_ascii=False)


def in_full(facts: Mapping[str, Any]) -> str:
    """Return facts, one a line."""
    names = {"is_unsent": "sent", "is_amended": "amended"}
    facts = {names.get(name, name): value for name, value in facts.items()}
    if "sent" in facts:
        facts["sent"] = not facts["sent"]
    width = max(map(len, facts))
    lines = (f"{name.replace('_', ' '):<{width}}  {cell(_text(value))}" for name, value in facts.items())
    return "\n".join(lines)


def line(event: EventInsight, *, payload: bool, as_json: bool) -> str:
    """Return an event on one line: as JSON, or time, stream, version, type, id, and its data on request."""
    if as_json:
        return json_of(fields(event, payload=payload))
    found = f"{at(event)}  {event.stream}  {event.version}  {event.type}  {event.id}"
    return cell(f"{found}  {json_of(fields(event, payload=True).get('data'))}" if payload else found)


def of_encoded(event: EncodedEvent) -> EventInsight:
    """Return an event of a subscription in the form of a search."""
    data = event.data if isinstance(event.data, str) else event.data.decode()
    return EventInsight(
        position=event.position or 0,
        id=event.id,
        source=event.source,
        stream=event.stream,
        category=event.stream.partition("-")[0],
        version=event.version,
        type=event.type,
        schema_version=event.schema_version,
        recorded_at=datetime.fromisoformat(event.time),
        correlation_id=event.correlation_id,
        causation_id=event.causation_id,
        traceparent=event.traceparent,
        bytes=len(data.encode()),
        metadata=json.loads(event.extra) if event.extra else {},
        data=data,
    )


def is_chosen(
    event: EventInsight,
    *,
    stream: str | None,
    category: str | None,
    event_type: str | None,
    correlation: str | None,
) -> bool:
    """Return whether an event matches all options; the first event of a story has no correlation id, but its id."""
    return (
        stream in (None, event.stream)
        and category in (None, event.category)
        and event_type in (None, event.type)
        and correlation in (None, event.correlation_id, event.id)
    )


def at(event: EventInsight) -> str:
    """Return when an event was recorded, in UTC."""
    return event.recorded_at.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
