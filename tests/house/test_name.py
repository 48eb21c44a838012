"""The warning beside an installed package speaks where somebody else's package has the name, and only there."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

PROGRAM = Path(__file__).parents[2] / "scripts" / "eventkit_outbox.py"


@pytest.fixture
def guard(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module, whose finder is taken away after the test."""
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    spec = importlib.util.spec_from_file_location("guard", PROGRAM)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("files", "speaks"),
    [
        ({"__init__.py": "class EventStore: ...", "errors.py": ""}, False),
        ({"__init__.py": "class Event: ...", "errors.py": ""}, True),
        ({"errors.py": ""}, True),
        ({"migrations/env.py": ""}, False),
        ({}, False),
    ],
    ids=["installed", "another over it", "another uninstalled again", "editable", "nothing"],
)
def test_only_another_package_of_the_name_is_reported(
    guard: ModuleType,
    tmp_path: Path,
    files: dict[str, str],
    speaks: bool,  # noqa: FBT001
) -> None:
    """An editable install brings its migrations into the folder, and no module."""
    for name, text in files.items():
        path = tmp_path / "eventkit" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    assert guard.watch(tmp_path) is speaks
