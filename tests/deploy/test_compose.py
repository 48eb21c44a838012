"""deploy/compose.yaml: valid by the Compose specification, and made of commands and releases that exist."""

import re
import shlex
from typing import Any

import compose_spec
import pytest
import yaml

from eventkit.projection.run import load_projections
from tests.deploy import DEPLOY
from tests.deploy.command_lines import parse
from tests.servers.jars import ACTIVEMQ_VERSION, KAFKA_VERSION

FILE = DEPLOY / "compose.yaml"
WANTED = {"service", "relay", "timers", "page", "postgres", "kafka", "prometheus"}


def services() -> dict[str, Any]:
    """Return the services of the file, by name."""
    found: dict[str, Any] = yaml.safe_load(FILE.read_text())["services"]
    return found


def commands() -> dict[str, list[str]]:
    """Return the command lines of eventkit, by service."""
    lines = {name: shlex.split(service.get("command", "")) for name, service in services().items()}
    return {name: words for name, words in lines.items() if words and words[0] == "eventkit"}


def test_it_is_valid_by_the_compose_specification() -> None:
    """An unknown key or a value of the wrong kind is refused; Compose fills variables in before it reads the file."""
    text = re.sub(r"\$\{\w+:-(.*?)\}", r"\1", FILE.read_text())
    compose_spec.PyCompose.from_yaml(yaml.safe_dump(yaml.safe_load(text)))


def test_it_has_the_whole_system() -> None:
    """A service, its workers, two projectors, the page, and the servers that they need."""
    names = set(services())

    assert names >= WANTED
    assert len([name for name in names if name.startswith("projector-")]) == 2


@pytest.mark.parametrize("name", sorted(commands()))
def test_the_command_line_takes_each_command(name: str) -> None:
    """A command that was renamed, or an option that went, is found here."""
    parse(commands()[name])


def test_the_projections_that_it_runs_exist() -> None:
    """By the paths on the projectors' command lines."""
    paths = [word for words in commands().values() for word in words if word.startswith("examples.")]

    assert {each.name for each in load_projections(paths)} == {"customer_totals", "payments"}


def test_each_dependency_is_a_service_that_can_meet_its_condition() -> None:
    """One that is waited for until it is healthy has a health check."""
    found = services()
    for service in found.values():
        for name, wanted in service.get("depends_on", {}).items():
            assert name in found
            assert wanted["condition"] != "service_healthy" or "healthcheck" in found[name]


def test_processes_of_the_image_have_no_rights() -> None:
    """A read-only root filesystem, no capability, no way to get one."""
    for name, service in services().items():
        if service["image"] == "shop":
            assert service["read_only"] is True, name
            assert service["cap_drop"] == ["ALL"], name
            assert service["security_opt"] == ["no-new-privileges:true"], name


def test_each_port_is_on_the_loopback_interface() -> None:
    """The servers have no passwords: nobody else may reach them."""
    ports = [port for service in services().values() for port in service.get("ports", [])]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_each_server_has_a_release_that_the_readme_lists() -> None:
    """The README beside the files says of each release whether the tests ran on it."""
    images = {service["image"] for service in services().values()} - {"shop"}
    table = (DEPLOY / "README.md").read_text()

    assert {image for image in images if f"`{image}`" not in table} == set()
    assert {name for name, service in services().items() if service.get("profiles") == ["dashboard"]} == {"grafana"}
    untested = {line.split("`")[1] for line in table.splitlines() if line.startswith("| `") and "| no:" in line}
    assert untested == {services()["grafana"]["image"]}  # no release is named: the operator chooses it
    assert f"apache/kafka:{KAFKA_VERSION}" in images
    assert f"apache/activemq-classic:{ACTIVEMQ_VERSION}" in images
