"""The commands of the first documents, typed as a reader types them: the output is the one that they show."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.examples.terminals import follow
from tests.examples.test_programs import lines_of_code

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BIN = Path(sys.executable).parent
BUILD = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
STEPS = sorted((ROOT / "examples" / "tutorial").glob("step*.py"))


def environment(**more: str) -> dict[str, str]:
    """Return this process's environment without settings of eventkit, with the tests' Python first on the path."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("EVENTKIT_")}
    return {**ours, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", **more}


def dependencies(folder: Path) -> Path:
    """Make a folder with the packages of this environment, but not this one: pip would find it installed."""
    folder.mkdir()
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        if not package.name.startswith(("eventkit", "_eventkit")):
            (folder / package.name).symlink_to(package)
    return folder


@pytest.mark.timeout(900)
def test_get_started_leads_from_an_empty_folder_to_a_read_model(tmp_path: Path) -> None:
    """With a package that pip installs into a new environment, and the program that the page shows."""
    wheels, folder = tmp_path / "wheels", tmp_path / "folder"
    folder.mkdir()
    libraries = dependencies(tmp_path / "dependencies")
    subprocess.run([sys.executable, "-c", BUILD, str(wheels)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    page = DOCS / "get-started.md"
    [program] = re.findall(r"^```python[^\n]*\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    (folder / "shop.py").write_text(program)
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_FIND_LINKS": str(wheels)}

    follow(page, folder, environment(**offline, PYTHONPATH=str(libraries)))


@pytest.mark.timeout(900)
def test_the_tutorial_prints_in_each_step_what_it_shows(tmp_path: Path) -> None:
    """All six programs, the relay, the projectors and the redrive, in the order of the page."""
    shutil.copytree(ROOT / "examples" / "tutorial", tmp_path / "examples" / "tutorial")
    (tmp_path / "examples" / "__init__.py").touch()

    follow(DOCS / "tutorial.md", tmp_path, environment(PYTHONPATH=str(tmp_path)))


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.stem)
def test_a_step_of_the_tutorial_fits_on_a_screen(step: Path) -> None:
    """Fewer than 60 lines of code."""
    assert lines_of_code(step.read_text()) < 60
