"""AsyncAPI's own parser reads the documents without a complaint."""

import json
from pathlib import Path

from click.testing import CliRunner

from eventkit.asyncapi import document
from eventkit.cli import main
from tests.asyncapi.conftest import Everything
from tests.servers.node_tools import NodeTools

WITH = ["--with", "examples.contract:desk", "--with", "examples.contract:charger"]


def printed(*options: str) -> str:
    """Return the output of the command."""
    return CliRunner().invoke(main, ["catalog", "asyncapi", "examples.contract:shop", *options]).stdout


def test_the_parser_accepts_each_document(node_tools: NodeTools, everything: Everything, tmp_path: Path) -> None:
    """Of each protocol, as YAML and JSON, and of many types that an event may have; it warns of nothing."""
    texts = {f"{name}.yaml": printed(*WITH, "--protocol", name) for name in ("kafka", "amqp", "redis", "stomp")}
    texts["server.json"] = printed(*WITH, "--json", "--server", "broker.example:9092", "--release", "2.4.0")
    texts["alone.yaml"] = printed()
    texts["every.json"] = json.dumps(document(everything.some))
    for name, text in texts.items():
        (tmp_path / name).write_text(text)

    said = node_tools.validate(*(tmp_path / name for name in texts))

    assert said[:5] == [f"{name}: 5 5 7" for name in [*texts][:5]]
    assert said[5:] == ["alone.yaml: 5 5 7", f"every.json: 2 2 {len(everything.some.types)}"]


def test_the_command_prints_the_same_in_yaml_and_json() -> None:
    """With the version of the document and the broker's address."""
    found = json.loads(printed("--json", "--server", "broker.example:9092", "--release", "2.4.0"))

    assert found["info"] == {"title": "shop", "version": "2.4.0"}
    assert found["servers"] == {"broker": {"host": "broker.example:9092", "protocol": "kafka"}}
    assert printed().startswith('asyncapi: "3.1.0"\ninfo:\n  title: "shop"\n')
