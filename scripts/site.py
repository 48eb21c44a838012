"""Build the documents as a site in build/site; with `serve`, show it and rebuild it when a document changes.

    python scripts/site.py
    python scripts/site.py serve

The source of the site is a copy of docs/ and of the documents beside it. A link to a file that is not a document, such
as a test, becomes its text. A broken link between documents ends the build.
"""

import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "build" / "site-source"
BESIDE = ("CHANGELOG.md", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "SECURITY.md")
LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]+)\]\((?P<target>[^)\s]+)\)")


def main() -> int:
    """Build or serve; return the exit code."""
    copy()
    words = sys.argv[1:] or ["build"]
    strict = ["--strict"] if words == ["build"] else []
    return subprocess.run([sys.executable, "-m", "zensical", *words, *strict], cwd=ROOT, check=False).returncode


def copy() -> None:
    """Copy the documents to the source of the site."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    shutil.copytree(ROOT / "docs", SOURCE)
    for name in BESIDE:
        shutil.copy(ROOT / name, SOURCE)
    for document in SOURCE.rglob("*.md"):
        document.write_text(LINK.sub(partial(_inside, document), document.read_text()))


def _inside(document: Path, link: re.Match[str]) -> str:
    """Return a link that stays within the site, or its text."""
    target = link["target"].partition("#")[0]
    if not target or re.match(r"[a-z]+:", target):
        return link.group()
    original = ROOT / document.name if document.name in BESIDE else ROOT / "docs" / document.relative_to(SOURCE)
    file = (original.parent / target).resolve()
    if file.suffix != ".md" or not file.exists():
        return link.group() if (document.parent / target).exists() else link["text"]
    if file.name in BESIDE:
        inside = SOURCE / file.name
    elif file.is_relative_to(ROOT / "docs"):
        inside = SOURCE / file.relative_to(ROOT / "docs")
    else:
        return link["text"]
    steps = Path(*[".."] * len(document.parent.relative_to(SOURCE).parts)) / inside.relative_to(SOURCE)
    return f"[{link['text']}]({steps}{link['target'][len(target) :]})"


if __name__ == "__main__":
    sys.exit(main())
