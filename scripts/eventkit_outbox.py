"""Warn if another package has overwritten this one: PyPI's `eventkit`, a dependency of ib_insync, has the same folder.

Two packages with one import name share a folder, and the later one silently overwrites the earlier one. No code inside
the folder can detect that, so the wheel of eventkit-outbox has this module beside it, and a `.pth` file that imports
it. It reads one file. If that belongs to the other package, it warns when `eventkit` is imported.
"""

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

_OURS = b"EventStore"


class Warn:
    """A finder that finds no module, and warns when `eventkit` is imported."""

    def find_spec(self, name: str, _path: object = None, _target: ModuleType | None = None) -> ModuleSpec | None:
        """Warn once, on stderr."""
        if name == "eventkit":
            sys.meta_path.remove(self)
            sys.stderr.write(
                "eventkit-outbox: another package named eventkit was installed over it, so `import eventkit` is not "
                "this one: pip uninstall eventkit, then pip install --force-reinstall --no-deps eventkit-outbox\n"
            )
        return None


def watch(folder: Path) -> bool:
    """Install the warning if the `eventkit` in a folder is the other package; return whether it is."""
    try:
        replaced = _OURS not in (folder / "eventkit" / "__init__.py").read_bytes()
    except OSError:  # the other package was uninstalled with this file; an editable install has no modules here
        replaced = (folder / "eventkit" / "errors.py").is_file()
    if replaced:
        sys.meta_path.insert(0, Warn())
    return replaced


if __name__ == "eventkit_outbox":
    watch(Path(__file__).parent)
