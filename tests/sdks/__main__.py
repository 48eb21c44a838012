"""Fetch the SDKs of other languages, and let them read and write: `python -m tests.sdks [javascript] [go] [java]`."""

import sys

import pytest

from tests.sdks.programs import VERSIONS, programs

if __name__ == "__main__":
    wanted = sys.argv[1:] or list(VERSIONS)
    for program in programs(*wanted):
        program.fetch()
    tests = ["tests/sdks", "tests/examples/test_consumers.py"]
    sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", *tests, "-k", " or ".join(wanted)]))
