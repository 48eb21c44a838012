"""Redrive, discard and edit: a preview of the count, a confirmation, and the action of `eventkit dead-letters`.

An action on many letters leaves out those that were parked after its preview. A redrive tries whole streams again.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from starlette.exceptions import HTTPException
from starlette.responses import Response

from eventkit.domain.catalog import Catalog
from eventkit.errors import DeadLetterError
from eventkit.storage.dead_letters import (
    Filed,
    LetterActions,
    LetterFilter,
    LetterQuery,
    RedriveRequests,
    check_data,
    editable_text,
)
from eventkit.web.bulk import Work
from eventkit.web.rendering.payloads import log_showing
from eventkit.web.rendering.words import plural
from eventkit.web.screens.letters import FILTERS, letter_filter, letter_number
from eventkit.web.visit import Visit

Verb = Literal["redrive", "discard"]

_WAIT = 2.0  # seconds that the browser waits for an action
_NAMES = {"parked_by": "parked by", "cause": "cause", "category": "category", "stream": "stream", "type": "type"}
_EFFECTS = {
    "redrive": "Each stream is tried again from its first letter on, in order. A running projector does it within a "
    "second, with the code that it has loaded. The relay sends its streams again from their first unsent event.",
    "discard": "The events are skipped for good. A projection goes on with the next event of the stream; a rebuild "
    "reads the skipped one again. The relay publishes a tombstone in the place of an event. This cannot be undone.",
}


class Wanted(NamedTuple):
    """The letters that a preview or a form names."""

    fields: dict[str, str | None]

    @property
    def letter(self) -> int | None:
        """The number of a single letter."""
        text = self.fields["letter"]
        return None if text is None else _number(text)

    def matching(self) -> LetterFilter:
        """Return the filter of the letters."""
        return letter_filter(self.fields) if self.letter is None else LetterFilter(ids=[self.letter])


def preview_redrive(visit: Visit) -> Response:
    """Show how many letters a redrive would try again."""
    return _preview(visit, "redrive")


def preview_discard(visit: Visit) -> Response:
    """Show how many letters a discard would remove."""
    return _preview(visit, "discard")


def redrive(visit: Visit) -> Response:
    """Ask for the redrives."""

    def work() -> Iterator[tuple[int, int]]:
        with visit.site.sessions.acting() as session:
            requests = RedriveRequests(session, visit.site.sessions.schema, actor=visit.access.who)
            letters = LetterQuery(session, visit.site.sessions.schema)
            for page in letters.pages(which, highest=highest):
                able = letters.redrivable(page)
                requests.redrive(page)
                yield able, len(page.ids) - able

    which, highest = _confirmed(visit)
    return _act(visit, "redrive", work)


def discard(visit: Visit) -> Response:
    """Discard the letters, stream by stream."""

    def work() -> Iterator[tuple[int, int]]:
        with visit.site.sessions.acting() as session:
            acting = LetterActions(session, visit.site.sessions.schema, actor=visit.access.who)
            for page in LetterQuery(session, visit.site.sessions.schema).pages(which, highest=highest):
                for (parked_by, stream), ids in page.streams.items():
                    outcomes = acting.discard(parked_by, stream, ids)
                    done = sum(outcome.done for outcome in outcomes)
                    yield done, len(outcomes) - done

    which, highest = _confirmed(visit)
    return _act(visit, "discard", work)


def edit_form(visit: Visit) -> Response:
    """Show the form with a letter's data."""
    letter = _editable(visit)
    text = editable_text(letter)
    log_showing(visit, f"letter {letter.id}")
    return _edit_form(visit, letter, text)


def edit(visit: Visit) -> Response:
    """Replace a letter's data and ask for a redrive of its stream; show the form again where the data is wrong."""
    letter, text = _editable(visit), visit.form.get("data", "").replace("\r\n", "\n")
    try:
        check_data(letter, text, _catalog(visit, letter))
        with visit.site.sessions.acting() as session:
            acting = LetterActions(session, visit.site.sessions.schema, actor=visit.access.who)
            acting.edit(letter.id, letter.parked_by, letter.stream, text)
    except DeadLetterError as error:
        return _edit_form(visit, letter, text, problem=str(error))
    return visit.go("letters", ask={"edited": letter.id})


def _preview(visit: Visit, verb: Verb) -> Response:
    wanted = Wanted({name: visit.asked(name) for name in (*FILTERS, "letter")})
    with visit.site.sessions.reading() as session:
        query = LetterQuery(session, visit.site.sessions.schema)
        which = wanted.matching()
        query.check(which)
        highest = query.highest()
        count, more = query.count(which)
        whole = verb == "redrive" and wanted.letter is not None
        streams = query.whole_streams(query.choose(which)) if whole else None
    words = plural(len(streams.ids) if streams else count, "letter")
    one = f", all of stream {next(iter(streams.streams))[1]}" if streams and streams.streams else ""
    title = f"{verb.capitalize()} letter {wanted.letter}" if wanted.letter else f"{verb.capitalize()} all that match"
    back = visit.url("letter", letter=wanted.letter) if wanted.letter else _list(visit, wanted)
    return visit.show(
        "confirm.html",
        screen="letters",
        title=title,
        count=f"More than {words}" if more else f"{words}{one}" if count else "No letter matches.",
        is_possible=count > 0 and (streams is None or bool(streams.ids)),
        problem="This letter has no place in a stream, or its generation is not live: discard it instead."
        if streams is not None and count and not streams.ids
        else None,
        effect=_EFFECTS[verb],
        chosen=[(_NAMES[name], value) for name, value in wanted.fields.items() if value and name in _NAMES],
        fields=wanted.fields | {"highest": str(highest)},
        address=visit.url(verb),
        back=back,
        button=f"{verb.capitalize()} {words}" if not more else f"{verb.capitalize()} all",
        is_dangerous=verb == "discard",
        reason=False,
    )


def _list(visit: Visit, wanted: Wanted) -> str:
    return visit.url("letter_list", ask={name: wanted.fields[name] for name in FILTERS})


def _confirmed(visit: Visit) -> tuple[LetterFilter, int]:
    """Return the filter of a confirmed form, and the number of the newest letter at its preview."""
    fields = {name: visit.form.get(name) or None for name in (*FILTERS, "letter")}
    return Wanted(fields).matching(), _number(visit.form.get("highest", ""))


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):  # noqa: PLR2004 of 64 bits
        raise HTTPException(400, f"{text[:40]!r} is no number of a letter: open the list again")
    return int(text)


def _act(visit: Visit, verb: Verb, work: Work) -> Response:
    if not visit.site.bulk.start(verb, visit.access.who, work, wait=_WAIT):
        raise HTTPException(409, "another action on letters is under way: wait for its end, and do this again")
    return visit.go("letters")


def _editable(visit: Visit) -> Filed:
    """Return the letter with its data; raise HTTPException if the visitor may not see that, or it is gone."""
    number = letter_number(visit)
    if visit.access.payloads != "full":
        raise HTTPException(403, "editing shows the data of an event, and this page masks it for you")
    with visit.site.sessions.reading() as session:
        query = LetterQuery(session, visit.site.sessions.schema)
        found = query.list(LetterFilter(ids=[number]), payload=True)
    if not found:
        raise HTTPException(404, f"there is no dead letter {number}: it was redriven or discarded")
    return found[0]


def _catalog(visit: Visit, letter: Filed) -> Catalog | None:
    """Return the catalog that knows the letter's source."""
    source = (letter.event or {}).get("headers", {}).get("ce_source")
    named = [catalog for catalog in visit.site.catalogs if catalog.name == source]
    return next(iter(named or visit.site.catalogs), None)


def _edit_form(visit: Visit, letter: Filed, text: str, problem: str | None = None) -> Response:
    rows = min(30, max(8, text.count("\n") + 2))
    status = 422 if problem else 200
    return visit.show(
        "edit.html", screen="letters", status=status, letter=letter, text=text, problem=problem, rows=rows
    )
