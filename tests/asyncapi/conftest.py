"""The tools from npm, and a catalog of every kind of event."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pydantic
import pytest

from eventkit import Catalog, CatalogError, InvalidEvent
from eventkit.domain.codec import Codec
from tests.conftest import lend
from tests.domain.catalog.sent import FORMS, MODELS, VALUES
from tests.servers.node_tools import NodeTools


class Everything(NamedTuple):
    """A catalog, and events of each of its types."""

    catalog: Catalog
    events: dict[str, list[Any]]

    @property
    def some(self) -> Catalog:
        """The models, and every third type as a dataclass: tools of other languages take long for all."""
        some = Catalog(self.catalog.name)
        plain = [kind for kind in self.catalog.types if kind.category == "dataclass"][::3]
        for kind in [*plain, *(kind for kind in self.catalog.types if kind.category == "model")]:
            some.event(name=kind.name, category=kind.category)(kind.cls)
        return some


@pytest.fixture(scope="session")
def node_tools() -> Iterator[NodeTools]:
    """AsyncAPI's parser and TypeScript."""
    yield from lend("contract tools", NodeTools)


@pytest.fixture(scope="session")
def everything() -> Everything:
    """Every supported type, in each kind of class."""
    catalog = Catalog("every")
    found: dict[str, list[Any]] = {}
    for form, make in FORMS.items():
        for number, (kind, values) in enumerate(VALUES):
            name = f"{form.capitalize()}{number}"
            try:
                cls = make(kind)
                events = [cls(field=value) for value in values]
                for event in events:
                    Codec(cls).encode(event)
            except (pydantic.errors.PydanticUserError, pydantic.ValidationError, CatalogError, InvalidEvent):
                continue  # some types are msgspec's alone
            catalog.event(name=name, category=form)(cls)
            found[name] = events
    for model in MODELS:
        name = type(model).__name__.partition("[")[0]
        catalog.event(name=name, category="model")(type(model))
        found[name] = [model]
    return Everything(catalog, found)
