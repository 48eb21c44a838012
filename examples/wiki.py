"""A wiki: each page has a slug that no other page has, and a log lists every change with its user and time."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from difflib import unified_diff
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from sqlalchemy.orm import Session

from eventkit import Aggregate, Catalog, DecisionModel, Decisions, Envelope, EventStore, QueryItem, Repository, evolve

wiki = Catalog("wiki")
store = EventStore(wiki)


@wiki.event(tags=["slug"])
@dataclass(frozen=True)
class PageCreated:
    slug: str
    title: str


@wiki.event(tags=lambda event: [f"slug:{event.slug}", f"slug:{event.before}"])
@dataclass(frozen=True)
class SlugChanged:
    slug: str
    before: str


@wiki.event
@dataclass(frozen=True)
class TitleChanged:
    title: str


@wiki.event
@dataclass(frozen=True)
class BodyChanged:
    body: str


class SlugTaken(Exception):
    """Another page has this slug."""


class PageNotFound(Exception):
    """No page has this slug."""


@dataclass
class Page(Aggregate):
    slug: str = ""
    title: str = ""
    body: str = ""
    changed_by: str = ""
    changed_at: datetime | None = None

    @evolve
    def _created(self, event: PageCreated, envelope: Envelope[PageCreated]) -> None:
        self.slug, self.title = event.slug, event.title
        self._changed(envelope)

    @evolve
    def _slug_changed(self, event: SlugChanged, envelope: Envelope[SlugChanged]) -> None:
        self.slug = event.slug
        self._changed(envelope)

    @evolve
    def _title_changed(self, event: TitleChanged, envelope: Envelope[TitleChanged]) -> None:
        self.title = event.title
        self._changed(envelope)

    @evolve
    def _body_changed(self, event: BodyChanged, envelope: Envelope[BodyChanged]) -> None:
        self.body = event.body
        self._changed(envelope)

    def _changed(self, envelope: Envelope[Any]) -> None:
        self.changed_by, self.changed_at = envelope.metadata.extra["user"], envelope.recorded_at


@dataclass
class Slug(DecisionModel):
    """The page that has a slug; None while it is free."""

    slug: str
    page: UUID | None = None

    def query(self) -> list[QueryItem]:
        return [QueryItem([f"slug:{self.slug}"])]

    @evolve
    def _given(self, event: PageCreated | SlugChanged, envelope: Envelope[Any]) -> None:
        self.page = UUID(envelope.stream.key) if event.slug == self.slug else None


class Change(NamedTuple):
    at: datetime
    user: str
    page: str
    what: object


pages = Repository(store, Page, category="page")
slugs = Decisions(store, Slug)


def create_page(session: Session, slug: str, title: str, *, user: str) -> None:
    _save(session, pages.new(uuid4()), PageCreated(slug, title), user)


def change_slug(session: Session, slug: str, new: str, *, user: str) -> None:
    _save(session, page_at(session, slug), SlugChanged(new, before=slug), user)


def change_title(session: Session, slug: str, title: str, *, user: str) -> None:
    _save(session, page_at(session, slug), TitleChanged(title), user)


def change_body(session: Session, slug: str, body: str, *, user: str) -> None:
    _save(session, page_at(session, slug), BodyChanged(body), user)


def page_at(session: Session, slug: str, version: int | None = None) -> Page:
    page = slugs.load(session, slug).page
    if page is None:
        raise PageNotFound(slug)
    return pages.load(session, page, at=version)


def difference(session: Session, slug: str, before: int, after: int) -> list[str]:
    old, new = (page_at(session, slug, version).body.splitlines() for version in (before, after))
    return list(unified_diff(old, new, lineterm="", n=0))


def changes(session: Session, *, newest: int = 20) -> Iterator[Change]:
    for envelope in store.read_category(session, "page", backwards=True, limit=newest):
        yield Change(envelope.recorded_at, envelope.metadata.extra["user"], envelope.stream.key, envelope.event)


def _save(session: Session, page: Page, event: object, user: str) -> None:
    decision = None
    if isinstance(event, PageCreated | SlugChanged):
        wanted = slugs.load(session, event.slug)
        if wanted.page:
            raise SlugTaken(wanted.slug)
        decision = wanted.decision
    page.record(event)
    pages.save(session, page, metadata={"user": user}, unless_changed=decision)
