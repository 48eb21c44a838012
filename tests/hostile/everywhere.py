"""`python -m tests.hostile.everywhere`: the test of the canaries in its long form, on every broker.

On RabbitMQ it fails: the strangers write as soon as one group is there, and RabbitMQ keeps their messages for the
groups that have joined by then, so fewer letters come than the test waits for. The test has to wait for each group.
"""

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
