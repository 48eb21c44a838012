"""An installed package brings its migrations: built as a wheel, unpacked away from the checkout, and used."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from eventkit.storage import migrate
from eventkit.storage.schema import verify

ROOT = migrate.migrations_folder().parent
BUILD = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the unpacked wheel; its dependencies come from the environment of the tests."""
    built, site = tmp_path_factory.mktemp("dist"), tmp_path_factory.mktemp("site")
    subprocess.run([sys.executable, "-c", BUILD, str(built)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    [wheel] = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


def eventkit(site: Path, *arguments: str, url: str = "") -> str:
    """Run the command of the unpacked package, in its folder and not the checkout's."""
    environment = {**os.environ, "PYTHONPATH": str(site), "EVENTKIT_DATABASE_URL": url}
    command = [
        sys.executable,
        "-c",
        "import eventkit.cli; print(eventkit.cli.__file__, flush=True); eventkit.cli.main()",
    ]
    done = subprocess.run([*command, *arguments], cwd=site, env=environment, capture_output=True, text=True, check=True)
    where, _, printed = done.stdout.partition("\n")
    assert Path(where).is_relative_to(site)
    return printed


def test_the_description_of_the_wheel_has_no_relative_link(site: Path) -> None:
    """PyPI shows it by itself: each link and picture has a whole address, of the repository in pyproject.toml."""
    [metadata] = site.glob("*.dist-info/METADATA")
    text = metadata.read_text()
    links = re.findall(r"\]\(([^)]+)\)", text)
    [source] = re.findall(r"^Project-URL: Source, (.+)$", text, re.MULTILINE)

    assert [link for link in links if not link.startswith(("https://", "#"))] == []
    assert f"]({source}/blob/main/docs/get-started.md)" in text
    assert re.search(r"!\[[^]]+\]\(https://raw\.githubusercontent\.com/[^)]+\.svg\)", text)


def test_an_installed_wheel_upgrades_a_database(site: Path, empty_database_url: str) -> None:
    """`eventkit db upgrade`, `current`, `verify` and `downgrade` work without a checkout."""
    upgraded = eventkit(site, "db", "upgrade", url=empty_database_url)
    current = eventkit(site, "db", "current", url=empty_database_url)
    verified = eventkit(site, "db", "verify", url=empty_database_url)
    differences = verify.differences(empty_database_url, "eventkit")
    eventkit(site, "db", "downgrade", "base", "--yes", url=empty_database_url)

    assert upgraded == "schema eventkit went from nothing to eventkit_0001\n"
    assert current == "schema eventkit is at eventkit_0001, the newest\n"
    assert verified == "schema eventkit is as it must be\n"
    assert differences == []
    assert migrate.current(empty_database_url) is None


def test_an_installed_wheel_prints_the_statements(site: Path) -> None:
    """`eventkit db sql` needs neither a checkout nor a database, and its output is that of a checkout."""
    assert eventkit(site, "db", "sql") == migrate.sql()


def test_the_wheel_brings_each_migration_once(site: Path) -> None:
    """The migrations are inside the package, with nothing left over beside it."""
    inside = sorted(path.name for path in (site / "eventkit" / "migrations" / "versions").glob("*.py"))
    here = sorted(path.name for path in (ROOT / "migrations" / "versions").glob("*.py"))

    assert inside == here
    assert not (site / "migrations").exists()


@pytest.mark.parametrize("theirs", ["from .event import Event\n", None], ids=["installed over it", "and uninstalled"])
def test_another_package_of_the_same_name_is_an_error(site: Path, tmp_path: Path, theirs: str | None) -> None:
    """PyPI's `eventkit` replaces our files silently: the import reports it, with the remedy; ours alone is quiet."""
    shutil.copytree(site, tmp_path / "site")
    # Without this environment's own `.pth` files: an editable install has had its say by then.
    start = f"import site, sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); site.addsitedir(sys.path[0])"
    libraries = f"sys.path.append({sysconfig.get_path('purelib')!r})"
    command = [sys.executable, "-I", "-S", "-c", f"{start}; {libraries}; import eventkit"]
    alone = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    package = tmp_path / "site" / "eventkit"
    (package / "__init__.py").unlink()
    if theirs is not None:
        (package / "event.py").write_text("class Event: pass\n")
        (package / "__init__.py").write_text(theirs)
    beside = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)

    assert alone.stderr == ""
    assert beside.stderr.startswith("eventkit-outbox: another package named eventkit was installed over it")
    assert "pip uninstall eventkit" in beside.stderr


def test_an_installed_wheel_brings_the_page(site: Path) -> None:
    """Every template, style, script and licence of the page is in it."""
    page = Path("eventkit", "web")
    files = {path.relative_to(ROOT) for path in (ROOT / page).rglob("*") if path.suffix not in {".py", ".pyc"}}
    there = {path.relative_to(site) for path in (site / page).rglob("*")}

    assert {path for path in files if (ROOT / path).is_file()} <= there
    assert page / "static" / "vendor" / "htmx-LICENSE.txt" in there
