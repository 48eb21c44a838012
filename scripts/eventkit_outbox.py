"""Says so where another package has put its own `eventkit` over this one: PyPI's `eventkit`, as ib_insync brings it.

Two packages of one import name share a folder, and the later one wins without a word. Neither can help that from within
the folder, so the wheel of eventkit-outbox has this module beside it, and a `.pth` that imports it. It looks at one
file; only where that is somebody else's, it waits for the import to say what is wrong.
"""

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

_OURS = b"EventStore"


class Warn:
    """A finder that finds nothing, and warns when `eventkit` is looked for."""

    def find_spec(self, name: str, _path: object = None, _target: ModuleType | None = None) -> ModuleSpec | None:
        """Say it once, on stderr."""
        if name == "eventkit":
            sys.meta_path.remove(self)
            sys.stderr.write(
                "eventkit-outbox: another package named eventkit was installed over it, so `import eventkit` is not "
                "this one: pip uninstall eventkit, then pip install --force-reinstall --no-deps eventkit-outbox\n"
            )
        return None


def watch(folder: Path) -> bool:
    """Watch for the import where the `eventkit` in a folder is not ours; return whether that is so."""
    try:
        replaced = _OURS not in (folder / "eventkit" / "__init__.py").read_bytes()
    except OSError:  # the other one was uninstalled, and took the file with it; an editable install has no modules here
        replaced = (folder / "eventkit" / "errors.py").is_file()
    if replaced:
        sys.meta_path.insert(0, Warn())
    return replaced


if __name__ == "eventkit_outbox":
    watch(Path(__file__).parent)
