"""Finds projections by their path, `package.module:attribute`, the way an operator names them."""

import importlib
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path

from eventkit.errors import ConfigurationError, EventkitError, ProjectionError
from eventkit.projection.projection import Projection


def load_projections(paths: Iterable[str]) -> list[Projection]:
    """Return the projections at these paths, each a projection or a sequence of them."""
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    found = [projection for path in paths for projection in _load(path)]
    names = [projection.name for projection in found]
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(f"two projections are named {name!r}: each needs a name of its own")
    return found


def _load(path: str) -> list[Projection]:
    module_name, _, attribute = path.partition(":")
    if not all(name.isidentifier() for name in f"{module_name}.{attribute}".split(".")):
        raise ConfigurationError(f"projection path {path!r} must look like package.module:projection")
    value: object = _module(path, module_name)
    for name in attribute.split("."):
        if not hasattr(value, name):
            raise ProjectionError(f"projection {path!r} cannot be loaded: {module_name} has no {attribute!r}")
        value = getattr(value, name)
    values: list[object] = list(value) if isinstance(value, list | tuple) else [value]
    found = [item for item in values if isinstance(item, Projection)]
    if len(found) != len(values) or not found:
        what = "an empty sequence" if not values else f"a {type(value).__name__}"
        raise ProjectionError(
            f"{path!r} is {what}, not a TableProjection, SqlProjection, Handlers, ProcessManager or a sequence of them"
        )
    for item in found:
        item.path = path
    return found


def _module(path: str, name: str) -> object:
    try:
        return importlib.import_module(name)
    except EventkitError:
        raise
    except SyntaxError as error:
        what = f"{error.msg} ({error.filename}, line {error.lineno})"
        raise ProjectionError(f"projection {path!r} cannot be loaded: its code cannot be read: {what}") from error
    except ModuleNotFoundError as error:
        where = f"no module {error.name!r} in {Path.cwd()} or on the Python path"
        raise ProjectionError(f"projection {path!r} cannot be loaded: {where}") from error
    except SystemExit as error:
        raise ProjectionError(f"projection {path!r} cannot be loaded: importing {name} ends the process") from error
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{type(error).__name__}: {error} ({place.filename}, line {place.lineno})"
        raise ProjectionError(f"projection {path!r} cannot be loaded: importing {name} fails with {what}") from error
