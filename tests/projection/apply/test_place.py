"""The place of an error is a line of the service's own code, wherever the error was raised."""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from eventkit.projection.dispatch import Handler, Step, raised_by
from eventkit.projection.failure.error_place import frames_of, place_of

BODIES = {  # the code of a handler, and the words that must not be in the place
    "standard library": "    json.loads('{')",
    "C": "    int('x')",
    "an installed package": "    psycopg.conninfo.conninfo_to_dict('x=y')",
    "by a helper": "    helper()",
    "its own": "    raise ValueError('no')",
}
CODE = "import json\nimport psycopg\n\n\ndef handler(row, event):\n{}\n\n\ndef helper():\n    json.loads('{{')\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path, whose modules are forgotten afterwards."""
    known = {*sys.modules}
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in {*sys.modules} - known:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def failed(module: ModuleType) -> Exception:
    """Return the error of a module's handler, as a projector gets it."""
    step = Step(Handler("shop", "Ordered", module.handler, takes_envelope=False), None, None, "order-1")
    try:
        module.handler(None, None)
    except Exception as error:  # noqa: BLE001 whichever it is
        raised_by(step, error)
        return error
    raise AssertionError


@pytest.mark.parametrize("where", ["service", "pack.deep.models", "site-packages"])
@pytest.mark.parametrize("kind", BODIES)
def test_it_is_the_handlers_own_line(folder: Path, where: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never that of a library by accident; also for a handler that lives in an installed package."""
    name = "models" if where == "service" else where
    if where == "site-packages":
        folder, name = folder / "site-packages", "installed.models"
        monkeypatch.syspath_prepend(str(folder))
    path = folder.joinpath(*name.split(".")).with_suffix(".py")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(CODE.format(BODIES[kind]))
    importlib.invalidate_caches()

    error = failed(importlib.import_module(name))

    line = 10 if kind == "by a helper" else 6
    assert place_of(error) == f"models.py:{line}"


def test_an_error_without_a_line_of_the_services_has_no_place() -> None:
    """No place is better than a wrong one."""
    with pytest.raises(ValueError, match="Expecting") as caught:
        json.loads("{")
    caught.value.__traceback__ = caught.tb.tb_next

    assert place_of(caught.value) == ""


def test_the_traceback_of_the_debug_log_says_nothing_of_the_event() -> None:
    """It has the frames, and not the text of the error."""
    with pytest.raises(ValueError, match="invalid literal") as caught:
        int("eve@example.org".strip())

    frames = frames_of(caught.value)

    assert "test_place.py" in frames
    assert "invalid literal" not in frames
