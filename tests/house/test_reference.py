"""The pages of reference follow from the code, and the public names are all in them."""

import subprocess
import sys
from pathlib import Path

import eventkit

ROOT = Path(__file__).parents[2]
API = ROOT / "docs" / "reference" / "api.md"


def test_the_reference_is_as_new_as_the_code() -> None:
    """A setting, a command, an option or a public name that changes, changes its page."""
    ran = subprocess.run(
        [sys.executable, ROOT / "scripts/reference.py", "--check"], capture_output=True, text=True, check=False
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_public_name_has_a_place_in_the_reference() -> None:
    """Each name that `eventkit` exports stands under one theme of the API's page."""
    lines = API.read_text().splitlines()
    headings = [line.removeprefix("### ") for line in lines if line.startswith("### ")]
    objects = [line.rpartition(".")[2] for line in lines if line.startswith("::: ")]

    assert sorted([*headings, *objects]) == sorted(eventkit.__all__)
