"""The spans of published pages: each is open from the send until the broker has acknowledged the whole page."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from eventkit.domain.message import Message
from eventkit.observability.tracing import PUBLISH, end_span, start_span
from eventkit.transports import Reports


class PublishedPage(msgspec.Struct):
    """A page with its span, and the number of its unacknowledged events."""

    span: Any
    left: int


class PublishSpans:
    """The spans of one publisher; without an SDK of OpenTelemetry it costs a call a page."""

    def __init__(self, system: str) -> None:
        """Name the messaging system in every span."""
        self._attributes = {"messaging.system": system}
        self._pages: dict[int, PublishedPage] = {}  # by the tags of unacknowledged messages

    def sending(self, messages: Sequence[Message]) -> None:
        """Open the span of a page that is about to be sent."""
        opened = start_span(PUBLISH, messages, self._attributes)
        if opened is not None:
            page = PublishedPage(opened, len(messages))
            self._pages.update({message.tag: page for message in messages})

    def confirmed(self, tags: Iterable[int]) -> None:
        """End the spans of the pages that are acknowledged whole now."""
        if not self._pages:
            return
        for tag in tags:
            page = self._pages.pop(tag, None)
            if page is not None:
                page.left -= 1
                if not page.left:
                    end_span(page.span)

    def end(self, failure: Reports | None) -> None:
        """End the other spans: they have failed, or nothing more is known of them."""
        error = "unacknowledged" if failure is None else kind_of_failure(failure)
        for opened in {id(page): page.span for page in self._pages.values()}.values():
            end_span(opened, error=error)
        self._pages.clear()


def kind_of_failure(failure: Reports) -> str:
    """Return the `error.type` of a publisher's failure; a broker's reason may quote an event."""
    return "refused" if failure.refused else "topic_held" if failure.held else "unacknowledged"
