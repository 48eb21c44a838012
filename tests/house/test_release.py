"""`make release` refuses what must not be released, and says why."""

import importlib.util
import re
import subprocess
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

PROGRAM = Path(__file__).parents[2] / "scripts" / "release.py"


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program, on a repository of its own that could be released as 1.2.3."""
    spec = importlib.util.spec_from_file_location("release", PROGRAM)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## 1.2.3 (2026-12-01)\n")
    (tmp_path / ".gitignore").write_text("__pycache__/\n")
    dump = tmp_path / "tests" / "migrations" / "released.py"
    dump.parent.mkdir(parents=True)
    for package in (dump.parent, dump.parent.parent):
        (package / "__init__.py").touch()
    dump.write_text("raise SystemExit(0)\n")
    git(tmp_path, "init", "--quiet")
    commit(tmp_path)
    return module


def git(folder: Path, *words: str) -> None:
    """Run git."""
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *words], cwd=folder, check=True)  # noqa: S607 the git of this machine


def commit(folder: Path) -> None:
    """Commit everything."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "a change")


def test_a_clean_tree_with_a_new_version_is_released(release: ModuleType, tmp_path: Path) -> None:
    """Before its tag, and at its tag."""
    assert list(release.refusals("1.2.3", None)) == []
    git(tmp_path, "tag", "v1.2.3")
    assert list(release.refusals("1.2.3", "v1.2.3")) == []


def test_each_reason_against_a_release_is_named(release: ModuleType, tmp_path: Path) -> None:
    """All of them at once."""
    git(tmp_path, "tag", "v1.2.3")
    (tmp_path / "tests" / "migrations" / "released.py").write_text("raise SystemExit(1)\n")
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n")

    dirty, tagged, heading, revision = release.refusals("1.2.3", None)

    assert "CHANGELOG.md tests/migrations/released.py" in dirty
    assert tagged == "the tag v1.2.3 exists: raise the version in pyproject.toml"
    assert "no heading `## 1.2.3 (date)`" in heading
    assert "tests/migrations/released: commit it" in revision


@pytest.mark.parametrize(
    ("version", "tag"), [("1.2", None), ("v1.2.3", None), ("1.2.4", "v1.2.3"), ("1.2.3", "v1.2.3")]
)
def test_another_version_than_that_of_the_tag_is_refused(
    release: ModuleType, tmp_path: Path, version: str, tag: str | None
) -> None:
    """So is a tag at an older commit, and a version that is none."""
    git(tmp_path, "tag", "v1.2.3")
    git(tmp_path, "commit", "--quiet", "--allow-empty", "--message", "later")

    assert list(release.refusals(version, tag))


def test_every_extra_of_users_is_audited_and_in_the_bill_of_materials(release: ModuleType) -> None:
    """A new extra is added to both lists, and its packages are compared with the advisories."""
    root = PROGRAM.parents[1]
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    audited = re.search(r'"\.\[(.+)\]"', (root / ".github" / "workflows" / "audit.yaml").read_text())

    assert audited
    assert sorted(audited[1].split(",")) == sorted(set(extras) - {"bench", "demo", "dev", "release"})
    assert audited[1] == release.EXTRAS
