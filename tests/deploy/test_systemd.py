"""deploy/systemd: units that systemd takes without a remark, and whose processes have few rights."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy import DEPLOY
from tests.deploy.command_lines import parse

UNITS = ("shop-projector@totals.service", "shop-relay.service", "shop-timers.service", "shop-web.service")
MOST_EXPOSED = 15  # tenths, by `systemd-analyze security`: 0 is best, 100 worst
SETTINGS = {"SERVE": "127.0.0.1:9464"}  # of the EnvironmentFile


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """A folder of units whose program is on this machine."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not on this machine")
    folder = tmp_path / "units"
    shutil.copytree(DEPLOY / "systemd", folder)
    for unit in folder.glob("*.service"):
        unit.write_text(unit.read_text().replace("/srv/shop/.venv/bin/eventkit", sys.executable))
    return folder


def analyze(units: Path, *words: str) -> str:
    """Return all that systemd-analyze says about the units in a folder, which is searched before its own."""
    env = {"SYSTEMD_UNIT_PATH": f"{units}:", "PATH": "/usr/bin:/bin", "NO_COLOR": "1", "SYSTEMD_PAGER": ""}
    command = ["systemd-analyze", *words]
    done = subprocess.run(command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True)
    return done.stdout


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_takes_it_without_a_remark(units: Path, unit: str) -> None:
    """An unknown key is ignored by systemd, and named by this check."""
    assert analyze(units, "verify", "--man=no", unit) == ""


def test_a_misspelled_key_of_the_common_settings_would_be_found(units: Path) -> None:
    """The check above reads the drop-in folder, too."""
    common = units / "shop-.service.d" / "process.conf"
    common.write_text(common.read_text().replace("UMask=", "Umask="))

    assert "Unknown key" in analyze(units, "verify", "--man=no", UNITS[0])


@pytest.mark.parametrize("unit", UNITS)
def test_a_process_has_few_rights(units: Path, unit: str) -> None:
    """By systemd's own measure, with the settings that all units share."""
    analyze(units, "security", "--offline=true", f"--threshold={MOST_EXPOSED}", "--no-pager", unit)


@pytest.mark.parametrize("unit", UNITS)
def test_the_command_line_takes_its_command(unit: str) -> None:
    """With the settings of the environment file that the README shows."""
    text = (DEPLOY / "systemd" / re.sub("@.*[.]", "@.", unit)).read_text()
    [line] = re.findall("^ExecStart=(.*)$", text, re.MULTILINE)
    words = [SETTINGS.get(word.strip("${}"), word) for word in shlex.split(line.replace("%i", "totals"))]

    parse(["eventkit", *words[1:]])
