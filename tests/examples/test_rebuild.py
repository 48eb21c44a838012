"""The example of a rebuild does as it says."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_rebuild_example_folds_all_sales_again(database_url: str) -> None:
    """By its own program, and then by the command."""
    environment = {**os.environ, "EVENTKIT_DATABASE_URL": database_url}
    rebuild = [sys.executable, "-m", "eventkit.cli", "projection", "rebuild", "examples.rebuild:sales"]

    first, second = (
        subprocess.run(words, env=environment, cwd=ROOT, check=True, capture_output=True, text=True)
        for words in ([sys.executable, "-m", "examples.rebuild"], rebuild)
    )

    assert "100 events folded anew" in first.stdout
    assert "honey 33 4950\nmilk 33 4917\ntea 34 5083\n" in first.stdout
    assert "sales: 100 events in" in second.stdout
