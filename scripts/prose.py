"""Check the prose of the project: count the words `what`, `whoever` and `whatever`, and long sentences.

    python scripts/prose.py [FILE ...]

Prose is the text of documents, and the docstrings and comments of code. More than four of these words in a thousand are
an error; one in a file always passes. A noun is a better subject. Sentences of more than 35 words, and lines of
documents of more than 200 characters, are warnings: they are counted at the end, or listed if files are named.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
SKIPPED = {"reference", "decisions", "notebook"}
CODE = ("eventkit", "examples", "benchmarks", "migrations", "scripts", "tests")
VAGUE = re.compile(r"\b(what|whoever|whatever)\b", re.IGNORECASE)
PER_THOUSAND = 4
LONG_SENTENCE = 35  # words
LONG_LINE = 200  # characters
NOT_PROSE = re.compile(r"```[\s\S]*?```|`[^`\n]*`|^\|.*$|^ {4,}.*$|\]\([^)]*\)", re.MULTILINE)


class Read(NamedTuple):
    """The counts of one file."""

    path: Path
    words: int
    vague: int
    sentences: list[str]  # over LONG_SENTENCE
    lines: int  # over LONG_LINE

    @property
    def wrong(self) -> bool:
        """Whether the file has too many vague words."""
        return self.vague > max(1, self.words * PER_THOUSAND / 1000)


def main() -> int:
    """Print the errors and the number of warnings; return the exit code."""
    named = [Path(word).resolve() for word in sys.argv[1:]]
    reads = [read(path) for path in named or sorted(files())]
    for one in reads:
        place = one.path.relative_to(ROOT)
        if one.wrong:
            print(f"{place}: {one.vague} times what or whoever in {one.words} words: let a noun be the subject")
        if named:
            print(*(f"{place}: {len(text.split())} words: {text}" for text in one.sentences), sep="\n")
    words, vague = sum(one.words for one in reads), sum(one.vague for one in reads)
    print(
        f"{len(reads)} files, {words} words of prose: {1000 * vague / max(words, 1):.1f} in 1,000 are what or whoever; "
        f"{sum(len(one.sentences) for one in reads)} sentences of over {LONG_SENTENCE} words, "
        f"{sum(one.lines for one in reads)} lines of over {LONG_LINE} characters"
    )
    return 1 if any(one.wrong for one in reads) else 0


def files() -> Iterator[Path]:
    """Yield the files that have prose, except generated ones and records, which stay as they were written."""
    yield from (path for path in ROOT.glob("*.md") if path.name != "CHANGELOG.md")
    yield from (path for path in (ROOT / "docs").rglob("*.md") if not SKIPPED.intersection(path.parts))
    for folder in CODE:
        yield from (ROOT / folder).rglob("*.py")


def read(path: Path) -> Read:
    """Count the words and sentences of one file."""
    source = path.read_text()
    text = source if path.suffix == ".md" else "\n\n".join(_prose_of(source))
    prose = NOT_PROSE.sub(" ", text)
    sentences = re.split(r"(?<=[.!?:;])\s+|\n\s*\n|^\s*[-#*]+ ", prose, flags=re.MULTILINE)
    return Read(
        path,
        len(prose.split()),
        len(VAGUE.findall(prose)),
        [" ".join(one.split()) for one in sentences if len(one.split()) > LONG_SENTENCE],
        sum(len(line) > LONG_LINE for line in source.splitlines()) if path.suffix == ".md" else 0,
    )


def _prose_of(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string.lstrip("# ")


if __name__ == "__main__":
    sys.exit(main())
