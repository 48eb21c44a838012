"""A virtual environment of a peer's own, so that its pins do not touch ours: made at its first use."""

import subprocess
import sys
from pathlib import Path

from tests.servers import ServerMissing
from tests.servers.jars import CACHES, COMPLETE


def python(name: str, requirements: Path) -> str:
    """Return the interpreter of an environment with the packages that a file lists; each list has its environment."""
    listed = requirements.read_text().split()
    folder = CACHES / f"{name}-{listed[0].partition('==')[2]}"
    stamp = folder / COMPLETE
    interpreter = str(folder / "bin" / "python")
    if not stamp.exists() or stamp.read_text().split() != listed:
        _run([sys.executable, "-m", "venv", "--clear", str(folder)], name)
        pip = [interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(requirements)]
        _run(pip, name)
        stamp.write_text("\n".join(listed))
    return interpreter


def _run(command: list[str], name: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServerMissing(f"{name} could not be installed: {done.stdout[-500:]}{done.stderr[-1500:]}")
