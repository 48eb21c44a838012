"""Types that `eventkit catalog export --types` writes: they compile, and read every event that is sent."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pydantic
import pytest
from click.testing import CliRunner

from eventkit import ConfigurationError
from eventkit.cli import main
from eventkit.cli.catalog import typed_clients
from eventkit.cli.catalog.typed_clients import types_of
from tests.asyncapi.conftest import Everything
from tests.servers.node_tools import NodeTools

READER = """
import type { EveryEvents, ShopEvents } from "./types";
const placed: ShopEvents["OrderPlaced"] = {
  order_id: "7", customer: "ada", lines: [{ article: "tea", price: "1.50" }], placed_at: "2026-01-01T00:00:00Z",
};
const method: ShopEvents["OrderPaid"]["method"] = "card";
export const either: ShopEvents[keyof ShopEvents] = placed;
export type One = EveryEvents["Dataclass0"];
// @ts-expect-error a method that the shop does not have
const wrong: ShopEvents["OrderPaid"] = { cents: 1, method: "cash" };
export { method, wrong };
"""


def test_pydantic_models_read_every_event_that_is_sent(everything: Everything) -> None:
    """Of every supported type, by the name of the event."""
    module = ModuleType("every_models")
    sys.modules[module.__name__] = module  # where annotations look for their classes
    exec(types_of(everything.catalog, "pydantic"), module.__dict__)  # noqa: S102 the program under test
    fields: dict[str, Any] = module.EveryEvents.model_fields
    models = {field.alias or name: pydantic.TypeAdapter(field.annotation) for name, field in fields.items()}

    for name, events in everything.events.items():
        for event in events:
            models[name].validate_json(everything.catalog.encode(event).data)
    with pytest.raises(pydantic.ValidationError):
        models["Dataclass0"].validate_json('{"field": "a"}')


def test_typescript_compiles_with_a_reader_of_it(
    node_tools: NodeTools, everything: Everything, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And refuses a value that the catalog does not have."""
    monkeypatch.chdir(node_tools.folder)  # npx finds the generator there
    shop = CliRunner().invoke(main, ["catalog", "export", "examples.contract:shop", "--types", "typescript"]).stdout

    (tmp_path / "shop.ts").write_text(shop)
    (tmp_path / "every.ts").write_text(types_of(everything.some, "typescript"))
    (tmp_path / "types.ts").write_text('export * from "./shop";\nexport type { EveryEvents } from "./every";\n')
    (tmp_path / "reader.ts").write_text(READER)

    node_tools.run("npx", "--no-install", "tsc", "--noEmit", "--strict", *map(str, sorted(tmp_path.glob("*.ts"))))


@pytest.mark.parametrize(
    ("language", "hidden", "advice"),
    [
        ("typescript", "which", "needs npx, which runs json-schema-to-typescript: install Node.js"),
        ("pydantic", "find_spec", r"needs datamodel-code-generator: pip install 'eventkit-outbox\[types\]'"),
    ],
)
def test_a_missing_generator_is_said(
    everything: Everything, monkeypatch: pytest.MonkeyPatch, language: str, hidden: str, advice: str
) -> None:
    """With the command that installs it."""
    monkeypatch.setattr(typed_clients, hidden, lambda name: None)  # noqa: ARG005 any name

    with pytest.raises(ConfigurationError, match=advice):
        types_of(everything.catalog, language)
