"""Names of functions and classes in messages."""

from collections.abc import Iterable
from pathlib import Path

import pytest
from sqlalchemy.engine.base import Engine
from sqlalchemy.orm.session import Session

from eventkit.domain.functions import name_of_class


class _Own:
    class Inner:
        pass


@pytest.mark.parametrize(
    ("cls", "name"),
    [
        (str, "str"),
        (Path, "pathlib.Path"),
        (Iterable, "collections.abc.Iterable"),
        (Engine, "sqlalchemy.Engine"),
        (Session, "sqlalchemy.orm.Session"),
        (_Own.Inner, f"{__name__}._Own.Inner"),
    ],
)
def test_a_class_has_the_shortest_name_by_which_it_is_imported(cls: type, name: str) -> None:
    """A built-in has no module, and a package may define a class in an inner module that changes."""
    assert name_of_class(cls) == name
