"""Hold the documents to the code: links resolve, promises name tests that exist, errors have a cure, programs run.

Called by `make docs`. Prints each thing that is wrong with its place and exits 1, or one line if all is well.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
GUARANTEES = DOCS / "guarantees.md"
CURES = DOCS / "troubleshooting.md"
INDEX = ROOT / "llms.txt"
CODE = ROOT / "eventkit"
ERRORS = CODE / "errors.py"
PROGRAMS = {
    "README.md": "examples/quickstart.py",
    "docs/asyncapi.md": "examples/contract.py",
    "docs/async-handlers.md": "examples/async_handlers.py",
    "docs/decision-models.md": "examples/courses.py",
    "docs/frameworks.md": "examples/frameworks/**/*.py",
    "docs/get-started.md": "examples/get_started/shop.py",
    "docs/index.md": "examples/get_started/shop.py",
    "docs/patterns.md": "examples/patterns.py",
    "docs/retry-policies.md": "examples/retries.py",
    "docs/schema-registry.md": "examples/schema_registry.py",
    "docs/tutorial.md": "examples/tutorial/*.py",
}
LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]+)\]\((?P<target>[^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
PYTHON = re.compile(r"^```python[^\n]*\n(?P<code>.*?)^```", re.MULTILINE | re.DOTALL)


def main() -> int:
    """Print the errors; return the exit code."""
    documents = sorted({*ROOT.glob("*.md"), INDEX, *DOCS.rglob("*.md")})
    wrong = [line for document in documents for line in broken_links(document)]
    wrong += [
        *pages_without_a_line(),
        *promises_without_a_test(),
        *errors_without_a_cure(),
        *programs_that_no_test_runs(),
    ]
    for remark in quotes_that_no_message_has():  # no error: the words of the log may change
        print(f"remark: {remark}")
    print("\n".join(wrong) or f"{len(documents)} documents: links, promises and the programs in them hold")
    return 1 if wrong else 0


def broken_links(document: Path) -> Iterator[str]:
    """Yield a line for each broken relative link, and for each named test that its file does not have."""
    for link in LINK.finditer(FENCE.sub("", document.read_text())):
        text, target = link["text"].strip("`"), link["target"]
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        place = document.relative_to(ROOT)
        if not file.exists():
            yield f"{place}: the link to {target} leads nowhere"
        elif text.startswith("test_") and not re.search(rf"def {text}\(", file.read_text()):
            yield f"{place}: {path} has no test {text}"
        elif anchor and file.suffix == ".md" and anchor not in anchors(file):
            yield f"{place}: {target} has no such heading"


def anchors(document: Path) -> set[str]:
    """Return the anchors that a document's headings make."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def pages_without_a_line() -> Iterator[str]:
    """Yield a line for each page that llms.txt or the navigation of the site does not list."""
    listed = {link["target"] for link in LINK.finditer(INDEX.read_text())}
    navigation = (ROOT / "zensical.toml").read_text()
    for page in sorted({*DOCS.glob("*.md"), *(DOCS / "reference").glob("*.md")}):
        if page.relative_to(ROOT).as_posix() not in listed:
            yield f"{page.relative_to(ROOT)}: add a line to {INDEX.name}"
        if f'"{page.relative_to(DOCS).as_posix()}"' not in navigation:
            yield f"{page.relative_to(ROOT)}: add it to the navigation in zensical.toml"


def promises_without_a_test() -> Iterator[str]:
    """Yield a line for each promise of the guarantees that names no test, in its row or in the rows below it."""
    for promise in re.split(r"^\| \*\*", GUARANTEES.read_text(), flags=re.MULTILINE)[1:]:
        if "[`test_" not in promise:
            name = promise.partition("**")[0]
            yield f"docs/guarantees.md: the promise {name!r} names no test"


def errors_without_a_cure() -> Iterator[str]:
    """Yield a line for each public error that the page of symptoms and cures does not name."""
    cures = CURES.read_text()
    for name in re.findall(r"^class (\w+)", ERRORS.read_text(), re.MULTILINE):
        if f"`{name}`" not in cures:
            yield f"docs/troubleshooting.md: the error {name} of eventkit/errors.py is not named"


def quotes_that_no_message_has() -> Iterator[str]:
    """Yield a line for each log line on the page of symptoms that no text of the code has: `...` stands for values."""
    code = " ".join(" ".join(text.split()) for file in sorted(CODE.rglob("*.py")) for text in texts_of(file))
    for row in re.findall(r"^\| log: (.*?) \|", CURES.read_text(), re.MULTILINE):
        for quote in re.findall(r"`([^`]+)`", row):
            if not all(part.strip(" :,") in code for part in quote.split("...")):
                yield f"docs/troubleshooting.md: no message of the code has {quote!r}"


def texts_of(file: Path) -> Iterator[str]:
    """Yield the texts in the code of a file; those with values in them have a tab in place of each."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.JoinedStr):
            yield "\t".join(str(part.value) if isinstance(part, ast.Constant) else "" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def programs_that_no_test_runs() -> Iterator[str]:
    """Yield a line for each Python block that is not literally in the program that a test runs."""
    for document, name in PROGRAMS.items():
        programs = [path.read_text() for path in ROOT.glob(name)]
        for block in PYTHON.finditer((ROOT / document).read_text()):
            if not any(block["code"] in program for program in programs):
                first = block["code"].partition("\n")[0].strip()
                yield f"{document}: the program that starts with {first!r} is not in {name}"


if __name__ == "__main__":
    sys.exit(main())
