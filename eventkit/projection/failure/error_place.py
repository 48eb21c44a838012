"""Finds the place of an error in the service's own code: the innermost line that the service's authors can change.

A traceback ends where the error was raised, perhaps deep in the standard library, in psycopg or in another installed
package. Frames of these are skipped, unless the handler itself is in that package.
"""

import sysconfig
import traceback
from pathlib import Path

from eventkit.projection.dispatch import Function, handler_of

_HERE = str(Path(__file__).parents[1])
_INSTALLED = ("site-packages", "dist-packages")
_STANDARD = tuple({str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "platstdlib")})


def place_of(error: BaseException) -> str:
    """Return `file.py:line` in the service's code; empty if the traceback has no such line."""
    handler = handler_of(error)
    package = _package(handler.user or handler.function) if handler else None
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_own(frame.filename, package)]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


def frames_of(error: BaseException) -> str:
    """Return the traceback without the error's message, which may quote the event."""
    return "".join(traceback.format_tb(error.__traceback__)).rstrip()


def _is_own(filename: str, package: Path | None) -> bool:
    path = Path(filename)
    if package is not None and (path == package or package in path.parents):
        return True
    library = filename.startswith((_HERE, "<")) or any(part in path.parts for part in _INSTALLED)
    return not library and not str(path.resolve()).startswith(_STANDARD)


def _package(function: Function) -> Path | None:
    """Return the folder of a function's package, or the file of a module outside of packages."""
    code = getattr(function, "__code__", None)
    if code is None:
        return None
    depth = function.__module__.count(".")
    path = Path(code.co_filename)
    return path.parents[depth - 1] if depth else path
