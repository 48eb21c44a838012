"""Types of a catalog's events for other programs, written by generators that others maintain.

Each gets one JSON Schema of draft 7: an object with a property for each event type, by its name on the wire.
"""

import json
import subprocess
import sys
from importlib.util import find_spec
from shutil import which
from typing import TYPE_CHECKING, Any

from eventkit.errors import CatalogError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventkit.domain.catalog import Catalog

_LIMIT = 300  # seconds: npx may have to fetch the generator
_TYPESCRIPT = "json-schema-to-typescript@16.0.0"
_PYDANTIC = [
    "--input-file-type", "jsonschema", "--output-model-type", "pydantic_v2.BaseModel",
    "--target-python-version", "3.11", "--disable-timestamp", "--use-annotated", "--formatters", "builtin",
]  # fmt: skip


def types_of(catalog: "Catalog", language: str) -> str:
    """Return source code in `typescript` or `pydantic`; raise ConfigurationError if its generator is missing."""
    schema = json.dumps(_schema(catalog))
    return _typescript(schema) if language == "typescript" else _pydantic(schema)


def _schema(catalog: "Catalog") -> dict[str, Any]:
    from eventkit.domain.catalog import Definitions, describe, draft7

    definitions = Definitions("#/definitions/")
    types = {kind.name: draft7(definitions.add(kind.data)) for kind in describe(catalog).types}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "".join(part.capitalize() for part in catalog.name.replace("-", ".").replace("_", ".").split("."))
        + "Events",
        "description": f"The events in the catalog {catalog.name!r}, by the type that a message has.",
        "type": "object",
        "properties": types,
        "required": sorted(types),
        "additionalProperties": False,
        "definitions": {name: draft7(schema) for name, schema in definitions.schemas.items()},
    }


def _typescript(schema: str) -> str:
    npx = which("npx")
    if npx is None:
        raise ConfigurationError(
            "--types typescript needs npx, which runs json-schema-to-typescript: install Node.js (Debian: "
            "`apt-get install npm`)"
        )
    return _output([npx, "--yes", "--package", _TYPESCRIPT, "json2ts"], schema)


def _pydantic(schema: str) -> str:
    if find_spec("datamodel_code_generator") is None:
        raise ConfigurationError(
            "--types pydantic needs datamodel-code-generator: pip install 'eventkit-outbox[types]'"
        )
    return _output([sys.executable, "-m", "datamodel_code_generator", *_PYDANTIC], schema)


def _output(command: "Sequence[str]", schema: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 the generator's own name and options
            command, input=schema, capture_output=True, encoding="utf-8", check=False, timeout=_LIMIT
        )
    except subprocess.TimeoutExpired as error:
        raise CatalogError(
            f"{command[0]} has not ended within {_LIMIT} seconds: it may wait for the network"
        ) from error
    if done.returncode or not done.stdout:
        raise CatalogError(f"the generator of types has failed: {' '.join(done.stderr.split())[-500:]}")
    return done.stdout
