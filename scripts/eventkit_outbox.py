"""Warn if another package has overwritten this one: PyPI's `eventkit`, a dependency of ib_insync, has the same folder.

Two packages with one import name share a folder, and the later one silently overwrites the earlier one. No code inside
the folder can detect that, so the wheel of eventkit-outbox has this module beside it, and a `.pth` file that imports
it. It reads one file and looks for another. If one of them belongs to the other package, it warns when `eventkit` is
imported.
"""

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

_OURS = b"EventStore"
_THEIRS = "event.py"  # a module of the other package, of which this one has none
_REPLACED = (
    "another package named eventkit was installed over it, so `import eventkit` is not this one: "
    "pip uninstall eventkit, then pip install --force-reinstall --no-deps eventkit-outbox"
)
_BESIDE = (
    "another package named eventkit is in the same folder, and this one was installed over it: the other one does not "
    "work, and removing either removes files of both; install each in an environment of its own"
)


class Warn:
    """A finder that finds no module, and warns when `eventkit` is imported."""

    def __init__(self, problem: str) -> None:
        self.problem = problem

    def find_spec(self, name: str, _path: object = None, _target: ModuleType | None = None) -> ModuleSpec | None:
        """Warn once, on stderr."""
        if name == "eventkit":
            sys.meta_path.remove(self)
            sys.stderr.write(f"eventkit-outbox: {self.problem}\n")
        return None


def watch(folder: Path) -> str | None:
    """Install the warning if another package shares the `eventkit` of a folder; return the problem."""
    package = folder / "eventkit"
    try:
        problem = None if _OURS in (package / "__init__.py").read_bytes() else _REPLACED
    except OSError:  # the other package was uninstalled with this file; an editable install has no modules here
        problem = _REPLACED if (package / "errors.py").is_file() else None
    if problem is None and (package / _THEIRS).is_file():
        problem = _BESIDE
    if problem is not None:
        sys.meta_path.insert(0, Warn(problem))
    return problem


if __name__ == "eventkit_outbox":
    watch(Path(__file__).parent)
