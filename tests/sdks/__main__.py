"""Fetch the SDKs of other languages, and let them read and write: `python -m tests.sdks [javascript] [go] [java]`."""

import sys

import pytest

from tests.sdks.programs import VERSIONS, fetch

if __name__ == "__main__":
    wanted = sys.argv[1:] or list(VERSIONS)
    for language in wanted:
        fetch(language)
    sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "tests/sdks", "-k", " or ".join(wanted)]))
