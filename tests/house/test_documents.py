"""The documents are held to the code by the tests too, so that a renamed test is noticed where it was renamed."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_documents_hold() -> None:
    """Links resolve, promises name tests that exist, and the README's program is one that runs."""
    ran = subprocess.run([sys.executable, ROOT / "scripts/check_docs.py"], capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stdout
