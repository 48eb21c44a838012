"""Real payloads of GitHub's webhooks, from npm's `@octokit/webhooks-examples`: fetched once into `.servers/`."""

import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from tests.servers import ServerMissing
from tests.servers.jars import CACHES

VERSION = "7.6.1"
TITLE = f"webhooks-examples {VERSION}"
_FILE = CACHES / f"webhooks-examples-{VERSION}.json"
_MEMBER = "package/api.github.com/index.json"


class Payloads:
    """The payloads, lent as servers are: a test without them is skipped with the reason."""

    version = VERSION

    def __init__(self) -> None:
        """Read them; ServerMissing when they were not fetched."""
        if not _FILE.exists():
            raise ServerMissing(f"{TITLE}: its payloads are not here: run `python -m tests.servers fetch` (needs npm)")
        self.all: list[dict[str, Any]] = [
            example for kind in json.loads(_FILE.read_text()) for example in kind["examples"]
        ]

    def stop(self) -> None:
        """There is nothing to end."""


def fetch() -> Path:
    """Let npm fetch them."""
    if _FILE.exists():
        return _FILE
    npm = shutil.which("npm")
    if not npm:
        raise ServerMissing(f"{TITLE} comes through npm: install it (Debian: `apt-get install npm`) and fetch again")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", "--silent", f"@octokit/webhooks-examples@{VERSION}", "--pack-destination", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        packed = next(Path(folder).glob("*.tgz"), None)
        if done.returncode or packed is None:
            raise ServerMissing(f"npm could not fetch {TITLE}: {done.stderr[-500:]}")
        with tarfile.open(packed) as archive:
            member = archive.extractfile(_MEMBER)
            text = member.read() if member else b"[]"
    _FILE.parent.mkdir(parents=True, exist_ok=True)
    partial = _FILE.with_suffix(".part")
    partial.write_bytes(text)
    partial.rename(_FILE)
    return _FILE
