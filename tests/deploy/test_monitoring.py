"""deploy/prometheus and deploy/grafana: rules that promtool takes and tests, on metrics that eventkit declares."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from eventkit.observability.instruments import Histogram
from eventkit.observability.metrics import INSTRUMENTS
from tests.deploy import DEPLOY
from tests.servers import ServerMissing

PROMETHEUS, DASHBOARD = DEPLOY / "prometheus", DEPLOY / "grafana" / "eventkit.json"
DOCUMENTS = DEPLOY.parent / "docs"
PARTS_OF_A_HISTOGRAM = ("_bucket", "_sum", "_count")


def promtool(*words: str | Path, folder: Path = PROMETHEUS) -> "subprocess.CompletedProcess[str]":
    """Run promtool in a folder."""
    program = shutil.which("promtool")
    if program is None:
        raise ServerMissing("promtool is not on this machine (Debian: apt-get install prometheus)")
    return subprocess.run([program, *words], cwd=folder, capture_output=True, text=True, check=False)


def alerts() -> list[dict[str, Any]]:
    """Return the rules."""
    groups = yaml.safe_load((PROMETHEUS / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def queries() -> list[str]:
    """Return the queries of the dashboard."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", ())]


def declared() -> set[str]:
    """Return the names that Prometheus shows for the declared metrics."""
    return {name for each in INSTRUMENTS for name in _names(each.name, is_histogram=isinstance(each, Histogram))}


def _names(name: str, *, is_histogram: bool) -> Iterator[str]:
    yield from (f"{name}{part}" for part in (PARTS_OF_A_HISTOGRAM if is_histogram else ("",)))


def used(expression: str) -> set[str]:
    """Return the names of eventkit's metrics in a query."""
    return set(re.findall(r"\beventkit_\w+", expression))


def test_prometheus_takes_the_rules_and_its_settings() -> None:
    """By the checks of its own tool."""
    checked = promtool("check", "config", "prometheus.yaml")

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_each_alert_fires_on_its_cause_and_not_on_others() -> None:
    """By the unit tests beside the rules: each cause alone, and a system in which all is well."""
    checked = promtool("test", "rules", "alerts_test.yaml")

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_each_alert_has_a_unit_test() -> None:
    """In which it fires."""
    tested = set(re.findall(r'alertname="(\w+)"', (PROMETHEUS / "alerts_test.yaml").read_text()))

    assert tested == {rule["alert"] for rule in alerts()}


def test_the_unit_tests_notice_a_changed_rule(tmp_path: Path) -> None:
    """A limit that is raised, or a condition that is left out, fails them."""
    shutil.copytree(PROMETHEUS, tmp_path / "rules")
    rules = tmp_path / "rules" / "alerts.yaml"
    rules.write_text(rules.read_text().replace("(eventkit_inbox_rows) > 5e6", "(eventkit_inbox_rows) > 5e9"))

    assert promtool("test", "rules", "alerts_test.yaml", folder=rules.parent).returncode != 0


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_an_alert_names_its_paragraph_and_declared_metrics(rule: dict[str, Any]) -> None:
    """A person who is woken finds the paragraph; a metric that was renamed is found here."""
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^### (.+)$", (DEPLOY.parent / page).read_text(), re.MULTILINE)

    assert anchor in {heading.lower().replace(" ", "-") for heading in headings}
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert used(rule["expr"]) <= declared()


def test_the_dashboard_shows_declared_metrics() -> None:
    """Each panel has a query, and a place of its own."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    names = {name for query in queries() for name in used(query)}
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]

    assert names <= declared()
    assert len(names) >= 20
    assert len(set(places)) == len(panels)
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_grafana_knows_each_key_of_the_dashboard() -> None:
    """Read and written by the model of Grafana's SDK, nothing is lost: a key that Grafana does not know would be."""
    register_default_plugins()
    given = json.loads(DASHBOARD.read_text())
    misspelt = {**given, "panels": [{**given["panels"][0], "gridpos": {}}]}

    assert list(_lost(given)) == []
    assert list(_lost(misspelt)) == [".panels[0].gridpos"]


def _lost(given: Any, *, known: Any = None, path: str = "") -> Iterator[str]:  # noqa: ANN401 JSON
    """Yield the places of a dashboard that its model leaves out or changes."""
    if not path:
        known = json.loads(json.dumps(Dashboard.from_json(given), cls=JSONEncoder))
    if isinstance(given, dict):
        for name, value in given.items():
            if name in known:
                yield from _lost(value, known=known[name], path=f"{path}.{name}")
            else:
                yield f"{path}.{name}"
    elif isinstance(given, list):
        for place, (value, other) in enumerate(zip(given, known, strict=True)):
            yield from _lost(value, known=other, path=f"{path}[{place}]")
    elif given != known:
        yield path


def test_prometheus_takes_each_query_of_the_dashboard(tmp_path: Path) -> None:
    """As the expression of a recording rule."""
    rules = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(queries())]
    (tmp_path / "panels.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))

    checked = promtool("check", "rules", "panels.yaml", folder=tmp_path)

    assert checked.returncode == 0, checked.stdout + checked.stderr
