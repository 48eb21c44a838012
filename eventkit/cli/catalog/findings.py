"""The findings of `catalog check`, each with its place in the code, as text, JSON or GitHub's annotations."""

import inspect
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from eventkit.domain.catalog import Catalog

_MESSAGE = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A"})
_PROPERTY = {**_MESSAGE, **str.maketrans({":": "%3A", ",": "%2C"})}


class CatalogFinding(NamedTuple):
    """Something that a release would break: who is affected, the sentence, and the type that it is about."""

    whom: str
    sentence: str
    type: str | None

    def __str__(self) -> str:
        return f"{self.whom}: {self.sentence}"


def annotations(findings: Sequence[CatalogFinding], catalog: "Catalog", path: str) -> list[str]:
    """Return a workflow command of GitHub's for each finding, at the class of its type or else at the catalog."""
    classes = {name: kind.cls for kind in catalog.types for name in kind.names}
    lines = []
    for finding in findings:
        file, line = _place(classes.get(finding.type or ""), path)
        place = f"file={file.translate(_PROPERTY)},line={line},title={finding.whom.translate(_PROPERTY)}"
        lines.append(f"::error {place}::{finding.sentence.translate(_MESSAGE)}")
    return lines


def in_json(findings: Mapping[str, Sequence[Any]], *, catalog: str, types: int) -> str:
    """Return one JSON object: lists of sentences by the affected, or objects of a registry's changes."""
    compatible = not any(findings.values())
    return json.dumps({"catalog": catalog, "types": types, "compatible": compatible, **findings})


def _place(cls: type | None, path: str) -> tuple[str, int]:
    """Return the file and line of a class, or the file of a catalog's module."""
    try:
        file, line = (inspect.getsourcefile(cls) or "", inspect.getsourcelines(cls)[1]) if cls else ("", 1)
    except (OSError, TypeError):  # a class that was made by a function
        file, line = "", 1
    file = file or str(getattr(sys.modules.get(path.partition(":")[0]), "__file__", None) or "")
    return _relative(file), line


def _relative(file: str) -> str:
    """Return a path from the working directory on, where a workflow has its checkout."""
    try:
        return Path(file).resolve().relative_to(Path.cwd()).as_posix()
    except (OSError, ValueError):
        return file
