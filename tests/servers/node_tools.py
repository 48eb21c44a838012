"""The tools that read exported contracts, from npm: AsyncAPI's parser, json-schema-to-typescript and tsc."""

import shutil
import subprocess
from pathlib import Path

from tests.servers import ServerMissing
from tests.servers.jars import CACHES

VERSIONS = {"@asyncapi/parser": "3.6.6", "json-schema-to-typescript": "16.0.0", "typescript": "7.0.2"}
TITLE = f"AsyncAPI's parser {VERSIONS['@asyncapi/parser']} and TypeScript {VERSIONS['typescript']}"
FOLDER = CACHES / ("contract-tools-" + "-".join(VERSIONS.values()))
_VALIDATE = Path(__file__).with_name("validate.mjs")
_LIMIT = 300  # seconds


class NodeTools:
    """The tools, lent as servers are: a test without them is skipped with the reason."""

    version = VERSIONS["@asyncapi/parser"]
    folder = FOLDER

    def __init__(self) -> None:
        """Look for them; ServerMissing when they were not fetched."""
        if not (FOLDER / "complete").exists() or not shutil.which("node"):
            raise ServerMissing(f"{TITLE}: not here: run `python -m tests.servers fetch` (needs npm)")

    def validate(self, *documents: Path) -> list[str]:
        """Return what AsyncAPI's parser says about documents, a line each: `file: severity code path message`."""
        shutil.copy(_VALIDATE, FOLDER)
        return self.run("node", _VALIDATE.name, *map(str, documents)).splitlines()

    def run(self, *command: str) -> str:
        """Run a command in the folder of the tools; return its output."""
        done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False, timeout=_LIMIT)
        assert not done.returncode, done.stdout[-3_000:] + done.stderr[-3_000:]
        return done.stdout

    def stop(self) -> None:
        """There is nothing to end."""


def fetch() -> Path:
    """Let npm fetch them, without running their scripts."""
    if (FOLDER / "complete").exists():
        return FOLDER
    npm = shutil.which("npm")
    if not npm:
        raise ServerMissing(f"{TITLE} come through npm: install it (Debian: `apt-get install npm`) and fetch again")
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "package.json").write_text('{"type": "module", "private": true}')
    packages = [f"{name}@{version}" for name, version in VERSIONS.items()]
    command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", *packages]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False, timeout=_LIMIT)
    if done.returncode:
        raise ServerMissing(f"npm could not fetch {TITLE}: {done.stderr[-500:]}")
    (FOLDER / "complete").touch()
    return FOLDER
