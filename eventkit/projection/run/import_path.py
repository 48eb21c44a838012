"""Import projections and other objects by their path in the code: `package.module:attribute`."""

import importlib
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path

from eventkit.errors import ConfigurationError, EventkitError, ProjectionError
from eventkit.projection.define import Projection
from eventkit.working_directory import search_it, working_directory


def load_projections(paths: Iterable[str]) -> list[Projection]:
    """Return the projections at these paths, each a projection or a sequence of them."""
    found = [projection for path in paths for projection in _load(path)]
    names = [projection.name for projection in found]
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(f"two projections are named {name!r}: each needs a name of its own")
    return found


def attribute_at(path: str, *, what: str = "projection", wrong: type[EventkitError] = ProjectionError) -> object:
    """Return the object at a path, also one in the working directory, which is searched last.

    Error messages call it `what`, and its import errors are of the class `wrong`.
    """
    search_it()
    module_name, _, attribute = path.partition(":")
    if not all(name.isidentifier() for name in f"{module_name}.{attribute}".split(".")):
        raise ConfigurationError(f"{what} path {path!r} must look like package.module:{what}")
    try:
        value: object = importlib.import_module(module_name)
        for name in attribute.split("."):
            value = getattr(value, name)
    except EventkitError:
        raise
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise wrong(f"{what} {path!r} cannot be loaded: {_reason(error, module_name, attribute)}") from error
    return value


def _load(path: str) -> list[Projection]:
    value = attribute_at(path)
    values: list[object] = list(value) if isinstance(value, list | tuple) else [value]
    found = [item for item in values if isinstance(item, Projection)]
    if len(found) != len(values) or not found:
        what = "an empty sequence" if not values else f"a {type(value).__name__}"
        raise ProjectionError(
            f"{path!r} is {what}, not a TableProjection, SqlProjection, Handlers, ProcessManager, Responder or a "
            "sequence of them"
        )
    for item in found:
        item.loaded_from(path)
    return found


def _reason(error: BaseException, module: str, attribute: str) -> str:
    if isinstance(error, SyntaxError):
        return f"its code cannot be read: {error.msg} ({error.filename}, line {error.lineno})"
    if isinstance(error, ModuleNotFoundError):
        here = working_directory() or "the working directory, which was removed,"
        return f"no module {error.name!r} in {here} or on the Python path{_hidden(module)}"
    if isinstance(error, SystemExit):
        return f"importing {module} ends the process"
    place = traceback.extract_tb(error.__traceback__)[-1]
    if isinstance(error, AttributeError) and place.filename == __file__:
        return f"{module} has no {attribute!r}{_hidden(module)}"
    return f"importing {module} fails with {type(error).__name__}: {error} ({place.filename}, line {place.lineno})"


def _hidden(module: str) -> str:
    """Return a note if another module hides the working directory's module of that name."""
    top = module.partition(".")[0]
    found = getattr(sys.modules.get(top), "__file__", None)
    folder = working_directory()
    if folder is None:
        return ""
    here = next((path for path in (folder / f"{top}.py", folder / top) if path.exists()), None)
    if here is None or found is None or Path(found).is_relative_to(folder):
        return ""
    return f": {found} comes before {here}, so rename that"
