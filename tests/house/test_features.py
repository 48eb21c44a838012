"""The table of features in CONTRIBUTING is held to the code: each is in few files, and the first one tells its flow."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| (?P<feature>[a-z -]+) \| (?P<files>\[.*) \|$", re.MULTILINE)
FILE = re.compile(r"\]\((eventkit/[\w/]+\.py)\)")
WORDS = {  # of the first file's name or docstring
    "append": "append",
    "forgetting a person": "forget",
    "gap handling": "gap",
    "inline": "inline",
    "lease fencing": "lease",
    "parking": "park",
    "rebuild swap": "swap",
    "redrive": "redrive",
    "request-reply": "request",
    "snapshots": "snapshot",
    "upcasting": "upcast",
    "version conflict": "version",
}
FEATURES = {row["feature"]: FILE.findall(row["files"]) for row in ROW.finditer((ROOT / "CONTRIBUTING.md").read_text())}


def test_the_table_has_each_feature() -> None:
    """A feature that leaves the table would not be looked at any more."""
    assert sorted(FEATURES) == sorted(WORDS)


@pytest.mark.parametrize("feature", sorted(WORDS))
def test_a_feature_is_in_at_most_four_files(feature: str) -> None:
    """Each of them exists, once in the row."""
    files = FEATURES[feature]

    assert 1 <= len(files) == len(set(files)) <= 4
    assert [name for name in files if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize("feature", sorted(WORDS))
def test_the_first_file_of_a_feature_tells_it(feature: str) -> None:
    """A newcomer who opens the file reads the feature's word in its docstring."""
    first = ROOT / FEATURES[feature][0]

    told = ast.get_docstring(ast.parse(first.read_text())) or ""

    assert WORDS[feature] in told.lower()
