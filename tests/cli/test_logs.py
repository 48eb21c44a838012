"""The log of our processes: one line a sentence, for people or for machines."""

import io
import json
import logging
import re

from eventkit.observability import logs


def logged(form: logs.Format) -> str:
    """Log a sentence, an error with a stack, and a line of another library; return the output."""
    stream = io.StringIO()
    logs.configure(form, stream=stream)
    logging.getLogger("eventkit.relay").info("position %d of stream %r:\nparked", 7, "order-1")
    logging.getLogger("eventkit.relay").error("failed", exc_info=ValueError("seven"))
    logging.getLogger("alembic").info("of no interest")
    return stream.getvalue()


def test_text_is_for_people() -> None:
    """Time, level, room and sentence on one line; a stack follows."""
    first, second, *stack = logged("text").splitlines()

    assert re.fullmatch(r"\d{4}-\d\d-\d\d [\d:]{8}\.\d{3} INFO    relay: position 7 of stream 'order-1': parked", first)
    assert second.endswith("ERROR   relay: failed")
    assert stack[-1] == "ValueError: seven"


def test_json_is_for_machines() -> None:
    """Every line is an object, also where there is a stack."""
    first, second = map(json.loads, logged("json").splitlines())

    assert first["message"] == "position 7 of stream 'order-1': parked"
    assert (first["level"], first["room"]) == ("info", "relay")
    assert first["time"].endswith("+00:00")
    assert second["error"].endswith("ValueError: seven")
