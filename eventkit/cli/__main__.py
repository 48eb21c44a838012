"""`python -m eventkit.cli` is the `eventkit` command.

Python has put the working directory first on the path. This module moves it to the end, as for `eventkit`: a file there
that has the name of a broker's client must not be imported instead of it.
"""

import sys
from contextlib import suppress
from pathlib import Path

from eventkit.cli import main

with suppress(FileNotFoundError):  # the working directory was removed
    if not sys.flags.safe_path and sys.path and Path(sys.path[0] or ".").absolute() == Path.cwd():
        sys.path.append(sys.path.pop(0))
main(prog_name="eventkit")
