"""The warning beside an installed package speaks where somebody else's package has the name, and only there."""

import importlib.metadata
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from eventkit.cli.doctor.import_name import import_name_findings

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
    ("files", "problem"),
    [
        ({"__init__.py": "class EventStore: ...", "errors.py": ""}, None),
        ({"__init__.py": "class Event: ...", "errors.py": ""}, "was installed over it"),
        ({"__init__.py": "class EventStore: ...", "errors.py": "", "event.py": ""}, "in the same folder"),
        ({"errors.py": ""}, "was installed over it"),
        ({"migrations/env.py": ""}, None),
        ({"__init__.py": "class Event: ...", "event.py": ""}, "was installed over it"),
        ({}, None),
    ],
    ids=[
        "installed",
        "another over it",
        "over another",
        "another uninstalled",
        "editable",
        "editable beside",
        "nothing",
    ],
)
def test_only_another_package_of_the_name_is_reported(
    guard: ModuleType, tmp_path: Path, files: dict[str, str], problem: str | None
) -> None:
    """An editable install brings its migrations into the folder, and no module."""
    for name, text in files.items():
        path = tmp_path / "eventkit" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    found = guard.watch(tmp_path)

    assert found is problem is None or problem in found


def test_no_module_has_the_name_of_one_of_the_other_package() -> None:
    """Else the other one would be seen where it is not, and files would be overwritten one by one."""
    theirs = {"event.py", "ops", "util.py", "version.py"}

    assert theirs.isdisjoint(path.name for path in (PROGRAM.parents[1] / "eventkit").iterdir())


def test_the_doctor_names_two_distributions_that_own_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """One is no finding; two are a fault, with the cure."""
    owners = {"eventkit": ["eventkit-outbox", "eventkit-outbox"]}
    monkeypatch.setattr(importlib.metadata, "packages_distributions", lambda: owners)
    assert list(import_name_findings()) == []
    owners["eventkit"].append("eventkit")

    [finding] = import_name_findings()

    assert not finding.safe
    assert finding.found == "eventkit, eventkit-outbox"
    assert "environment of its own" in finding.reason


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the other package; the test is skipped where no registry has it."""
    folder = tmp_path_factory.mktemp("theirs")
    words = [
        "download",
        "--quiet",
        "--no-deps",
        "--timeout",
        "20",
        "--retries",
        "1",
        "--dest",
        str(folder),
        "eventkit==1.0.3",
    ]
    if subprocess.run([sys.executable, "-m", "pip", *words], capture_output=True, check=False).returncode:
        pytest.skip("no package registry here has eventkit 1.0.3")
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this package."""
    folder = tmp_path_factory.mktemp("ours")
    build = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(folder)], cwd=PROGRAM.parents[1], check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.mark.parametrize("order", ["ours first", "theirs first"])
def test_both_wheels_in_one_environment_are_reported(tmp_path: Path, ours: Path, theirs: Path, order: str) -> None:
    """Installed by pip in either order, and after the removal of the other."""
    wheels = [ours, theirs]
    home = tmp_path / "home"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    python = str(home / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python]
    for wheel in wheels if order == "ours first" else reversed(wheels):
        subprocess.run([*pip, "install", "--quiet", "--no-deps", str(wheel)], check=True)

    together = subprocess.run([python, "-c", "import eventkit"], capture_output=True, text=True, check=False)
    subprocess.run([*pip, "uninstall", "--quiet", "--yes", "eventkit"], check=True)
    after = subprocess.run([python, "-c", "import eventkit"], capture_output=True, text=True, check=False)

    expected = "was installed over it" if order == "ours first" else "is in the same folder"
    assert f"eventkit-outbox: another package named eventkit {expected}" in together.stderr
    assert "eventkit-outbox: another package named eventkit was installed over it" in after.stderr
