"""Build a release in dist/, check it, and write its bill of materials; nothing is uploaded.

    python scripts/release.py                 before the tag
    python scripts/release.py --tag v0.1.0    at the commit that has this tag
    python scripts/release.py --rehearse      build and check only, as CI does for each change

A release needs a clean tree, a version without a tag, its heading in the changelog, and the file of its schema revision
in tests/migrations/released, which the first call writes.
"""

import hashlib
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
SBOM = "sbom.cdx.json"
EXTRAS = "activemq,asyncio,asyncpg,embedded,metrics,privacy,rabbitmq,redis,registry,tracing,types,web"
VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)((a|b|rc)\d+)?")


def main(words: list[str]) -> int:
    """Refuse, or build; return the exit code."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    tag = words[1] if words[:1] == ["--tag"] and words[1:] else None
    problems = [] if words == ["--rehearse"] else list(refusals(version, tag))
    if problems:
        print("\n".join(f"no release of {version}: {problem}" for problem in problems), file=sys.stderr)
        return 1
    build()
    list_parts()
    for file in sorted(DIST.iterdir()):
        print(
            f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(ROOT)}  {file.stat().st_size:,} bytes"
        )
    if not tag:
        print(f"nothing is uploaded: `git tag v{version}` and a push of the tag start .github/workflows/release.yaml")
    return 0


def refusals(version: str, tag: str | None) -> Iterator[str]:
    """Yield each reason against a release, with its cure."""
    if not VERSION.fullmatch(version):
        yield "the version in pyproject.toml is not MAJOR.MINOR.PATCH"
    if changed := git("status", "--porcelain"):
        yield f"these files are not committed: {' '.join(line[3:] for line in changed.splitlines())}"
    if tag is None and git("tag", "--list", f"v{version}"):
        yield f"the tag v{version} exists: raise the version in pyproject.toml"
    if tag is not None and (tag != f"v{version}" or git("rev-list", "-1", tag) != git("rev-parse", "HEAD")):
        yield f"the tag {tag} is not v{version} at this commit"
    if not re.search(rf"^## {re.escape(version)}\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE):
        yield f"CHANGELOG.md has no heading `## {version} (date)`: rename *Unreleased*"
    if subprocess.run([sys.executable, "-m", "tests.migrations.released"], cwd=ROOT, check=False).returncode:
        yield "the file of the newest schema revision was missing in tests/migrations/released: commit it"


def git(*words: str) -> str:
    """Return the output of git."""
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.rstrip()  # noqa: S607 the git of this machine


def build() -> None:
    """Build sdist and wheel in dist/, and check that PyPI would take and show them."""
    for file in DIST.glob("*"):
        file.unlink()
    run("-m", "build", "--outdir", str(DIST), str(ROOT))
    run("-m", "twine", "check", "--strict", *map(str, DIST.iterdir()))


def list_parts() -> None:
    """Write the bill of materials of the wheel with all its extras, as installed in a new environment."""
    [wheel] = DIST.glob("*.whl")
    with tempfile.TemporaryDirectory(prefix="eventkit-release-") as folder:
        run("-m", "venv", "--without-pip", folder)
        python = str(Path(folder, "bin", "python"))
        run("-m", "pip", "--python", python, "install", "--quiet", f"{wheel}[{EXTRAS}]")
        options = ["--output-format", "JSON", "--output-reproducible", "--pyproject", str(ROOT / "pyproject.toml")]
        run("-m", "cyclonedx_py", "environment", *options, "--output-file", str(DIST / SBOM), python)


def run(*words: str) -> None:
    """Run a module of this Python; its output is shown only if it fails."""
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)} failed:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
