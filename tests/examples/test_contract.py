"""The program of docs/asyncapi.md, and the commands on that page."""

import re
from pathlib import Path

from click.testing import CliRunner

from eventkit.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "asyncapi.md").read_text()


def test_show_prints_the_table_of_the_page() -> None:
    """To the letter."""
    shown = re.search(r"^\$ eventkit (catalog show .*)\n((?:.|\n)*?)```", PAGE, re.MULTILINE)
    assert shown

    assert CliRunner().invoke(main, shown[1].split()).stdout == shown[2]
