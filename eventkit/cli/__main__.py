"""`python -m eventkit.cli` is the `eventkit` command.

Python has put the working directory first on the path. It goes last, as for `eventkit`: a file in it that is named like
a broker's client must not take its place.
"""

import sys
from pathlib import Path

from eventkit.cli import main

if not sys.flags.safe_path and sys.path and Path(sys.path[0] or ".").absolute() == Path.cwd():
    sys.path.append(sys.path.pop(0))
main(prog_name="eventkit")
