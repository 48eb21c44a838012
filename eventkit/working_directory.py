"""The working directory on the Python path is searched last.

A file there must not hide a module of Python, or of a broker's client, that has the same name.
"""

import sys
from pathlib import Path


def working_directory() -> Path | None:
    """Return the working directory; None where it was removed."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return None


def search_it_last() -> None:
    """Move the working directory to the end of the Python path, if `python -m` has put it first."""
    here = working_directory()
    if here is not None and not sys.flags.safe_path and sys.path and here == here / sys.path[0]:
        sys.path.append(sys.path.pop(0))


def search_it() -> None:
    """Add the working directory at the end of the Python path, unless it is there."""
    here = working_directory()
    if here is not None and str(here) not in sys.path:
        sys.path.append(str(here))
