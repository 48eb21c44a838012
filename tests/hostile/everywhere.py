"""`python -m tests.hostile.everywhere`: the test of the canaries in its long form, on every broker."""

import os
import subprocess
import sys

from tests.hostile.test_says_nothing import BROKERS
from tests.transports.secured import BROKERS as SECURED


def main() -> int:
    """Run pytest on the test, once for each broker."""
    environment = {**os.environ, BROKERS: ",".join(SECURED)}
    words = [sys.executable, "-m", "pytest", "tests/hostile/test_says_nothing.py", *sys.argv[1:]]
    return subprocess.call(words, env=environment)


if __name__ == "__main__":
    sys.exit(main())
