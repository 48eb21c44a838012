"""The programs of the other SDKs, fetched and built once into `.servers/`: node with npm, go, java with Maven."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.servers import ServerMissing
from tests.servers.jars import CACHES
from tests.servers.jars import fetch as fetch_jars

VERSIONS = {"javascript": "10.0.0", "go": "2.16.2", "java": "4.0.1"}
_HERE = Path(__file__).parent
_LIMIT = 300  # seconds


def folder(language: str) -> Path:
    """Return the folder of a language's program."""
    return CACHES / f"cloudevents-{language}-{VERSIONS[language]}"


def command(language: str) -> list[str]:
    """Return the command that runs a program; ServerMissing if it was not fetched."""
    place = folder(language)
    if not (place / "complete").exists():
        raise ServerMissing(f"CloudEvents' SDK for {language} is not here: run `python -m tests.sdks {language}`")
    return {
        "javascript": ["node", str(place / "javascript.mjs")],
        "go": [str(place / "sdks")],
        "java": ["java", "-cp", f"{place}/*", str(_HERE / "Reads.java")],
    }[language]


def fetch(language: str) -> Path:
    """Fetch an SDK through its language's own client, and build the program; return its folder."""
    place = folder(language)
    if (place / "complete").exists():
        return place
    place.mkdir(parents=True, exist_ok=True)
    if language == "javascript":
        shutil.copy(_HERE / "javascript.mjs", place)
        (place / "package.json").write_text('{"type": "module", "private": true}')
        _run(["npm", "install", "--no-audit", "--no-fund", f"cloudevents@{VERSIONS[language]}"], place)
    elif language == "go":
        for name in ("main.go", "go.mod"):
            shutil.copy(_HERE / name, place)
        _run(["go", "mod", "tidy"], place)
        _run(["go", "build", "-o", "sdks", "."], place)
    else:
        fetch_jars(_HERE / "pom.xml", place, "CloudEvents' SDK for Java")
    (place / "complete").touch()
    return place


def _run(arguments: Sequence[str], place: Path) -> None:
    if not shutil.which(arguments[0]):
        raise ServerMissing(f"{arguments[0]} is not on this machine: install it and fetch again")
    done = subprocess.run(arguments, cwd=place, capture_output=True, text=True, check=False, timeout=_LIMIT)
    if done.returncode:
        raise ServerMissing(f"{' '.join(arguments)} failed: {done.stdout[-500:]}{done.stderr[-1500:]}")


def answers(language: str, lines: Sequence[str]) -> list[str]:
    """Let a program read messages; return its answers."""
    done = subprocess.run(
        command(language), input="\n".join(lines), capture_output=True, text=True, check=False, timeout=_LIMIT
    )
    assert not done.returncode, done.stderr[-3_000:]
    return done.stdout.splitlines()
