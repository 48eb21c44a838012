"""A folder for the files of the demo."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """An empty folder that an account without rights can enter, which pytest's own is not."""
    folder = Path(tempfile.mkdtemp(prefix="eventkit-demo-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
