"""deploy/kubernetes: built by kubectl, valid by the schemas of Kubernetes, and probed where --serve answers."""

import shutil
import subprocess
from functools import cache
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.deploy import DEPLOY
from tests.deploy.command_lines import parse

RELEASES = ("1.29", "1.33", "1.37")
PROBES = {"startupProbe": "/startupz", "livenessProbe": "/livez", "readinessProbe": "/readyz"}


@cache
def built() -> tuple[dict[str, Any], ...]:
    """Return the objects that `kubectl apply -k` would send."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not on this machine")
    done = subprocess.run([kubectl, "kustomize", DEPLOY / "kubernetes"], capture_output=True, text=True, check=True)
    assert "deprecated" not in done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    """Return the objects of a kind, by name."""
    return {each["metadata"]["name"]: each for each in built() if each["kind"] == kind}


def pods() -> dict[str, dict[str, Any]]:
    """Return the specifications of all pods, by the name of their Deployment or Job."""
    return {
        name: each["spec"]["template"]["spec"] for name, each in {**of_kind("Deployment"), **of_kind("Job")}.items()
    }


def containers() -> list[dict[str, Any]]:
    """Return all containers, also those that run before others."""
    return [each for pod in pods().values() for each in (*pod.get("initContainers", ()), *pod["containers"])]


@pytest.mark.parametrize("release", RELEASES)
def test_each_object_is_valid_by_the_schema_of_its_kind(release: str) -> None:
    """A misspelled field is refused, too: the API server would drop it."""
    for each in built():
        kubernetes_validate.validate(each, release, strict=True)


def test_the_command_line_takes_each_command() -> None:
    """A command that was renamed, or an option that went, is found here."""
    found = [parse(each["args"]) for each in containers() if each["args"][0] == "eventkit"]

    assert set(found) == {
        "eventkit db upgrade",
        "eventkit projector run",
        "eventkit relay run",
        "eventkit timers run",
        "eventkit topics create",
        "eventkit web",
    }


def test_workers_are_probed_where_serve_answers() -> None:
    """Each with the path of its kind, at the port of its command line."""
    workers = {name for name, each in of_kind("Deployment").items() if each["metadata"]["labels"].get("eventkit")}

    assert workers == {"relay", "projector-totals", "projector-payments", "timers"}
    for name in workers:
        [container] = pods()[name]["containers"]
        assert {probe: container[probe]["httpGet"]["path"] for probe in PROBES} == PROBES
        [port] = container["ports"]
        assert container["args"][-2:] == ["--serve", f"0.0.0.0:{port['containerPort']}"]
        assert {container[probe]["httpGet"]["port"] for probe in PROBES} == {port["name"]}


def test_a_deployment_of_several_has_a_disruption_budget() -> None:
    """A drained node takes one of them at a time."""
    several = {name for name, each in of_kind("Deployment").items() if each["spec"]["replicas"] > 1}
    budgets = of_kind("PodDisruptionBudget")

    assert set(budgets) == several
    for name, budget in budgets.items():
        assert budget["spec"]["selector"] == of_kind("Deployment")[name]["spec"]["selector"]
        assert budget["spec"]["maxUnavailable"] == 1


def test_each_process_has_the_login_of_its_role() -> None:
    """No process but the migration has the owner's, and none has two."""
    logins = {
        name: sorted(
            {env["secretRef"]["name"] for each in pod["containers"] for env in each["envFrom"]} - {"shop-broker"}
        )
        for name, pod in pods().items()
    }

    assert logins == {
        "migrate": ["shop-owner"],
        "page": ["shop-reader"],
        "projector-payments": ["shop-projector"],
        "projector-totals": ["shop-projector"],
        "relay": ["shop-relay"],
        "service": ["shop-writer"],
        "timers": ["shop-projector"],
    }
    assert {*of_kind("Secret")} == {login for each in logins.values() for login in each} | {"shop-broker"}


def test_no_container_is_root_or_writes_its_root_filesystem() -> None:
    """As the restricted profile of Kubernetes wants it."""
    assert all(pod["securityContext"]["runAsNonRoot"] for pod in pods().values())
    for each in containers():
        assert each["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }
