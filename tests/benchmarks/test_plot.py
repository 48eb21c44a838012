"""Pictures of measurements."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.__main__ import main
from benchmarks.plot import Curve, bars, curves


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_bars_and_curves_are_drawn_by_the_files_ending(tmp_path: Path, ending: str) -> None:
    """A PNG or an SVG is written; an SVG holds its labels as text."""
    rates = {"8 writers": {"eventkit": [3.0, 2.0, 4.0], "by hand": [3.0, 5.0]}}
    curve = Curve("drain", "events waiting", "events/s", {"relay": {10_000: 9.0, 10_000_000: 8.0}})

    bars(tmp_path / f"bars.{ending}", "appends", rates, pale={"by hand"})
    curves(tmp_path / f"curves.{ending}", "scale", [curve])

    drawn = [(tmp_path / f"{name}.{ending}").read_bytes() for name in ("bars", "curves")]
    wanted = [b"\x89PNG", b"\x89PNG"] if ending == "png" else [b"8 writers", b"10M"]
    assert all(words in picture for words, picture in zip(wanted, drawn, strict=True))


@pytest.mark.parametrize("file", ["figures.pdf", "nowhere/figures.svg"])
def test_a_picture_that_cannot_be_drawn_is_refused_before_anything_is_measured(file: str) -> None:
    """The answer comes at once, with the file's name and exit code 2."""
    result = CliRunner().invoke(main, ["append", "--plot", file])

    assert result.exit_code == 2
    assert file in result.output
