"""Pictures of a benchmark: bars from several rounds for contestants, curves for figures that should be flat.

PNG or SVG, by the file's ending. matplotlib comes with the extra `bench` and is loaded when a picture is asked for.
"""

from collections.abc import Collection, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import click
import msgspec

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Rates = Mapping[str, Sequence[float]]  # by contestant, one a round

ENDINGS = (".png", ".svg")
_WIDTH, _BAR, _MARGIN = 7.5, 0.34, 1.0  # inches
_LABEL: dict[str, Any] = {"fontsize": 7, "padding": 3}
_DIGITS = 100  # from here on a value is written without decimals
_PALE, _STRONG = "#b8c4d6", "#2f5d9b"


class Curve(msgspec.Struct, frozen=True):
    """One panel: a figure at growing sizes, by name of line."""

    title: str
    across: str
    up: str
    lines: Mapping[str, Mapping[int, float]]


def checked(file: str) -> Path:
    """Return the path of a picture that can be drawn; a UsageError before anything is measured, not after."""
    path = Path(file)
    if path.suffix.lower() not in ENDINGS:
        raise click.UsageError(f"--plot {file}: a picture ends in {' or '.join(ENDINGS)}")
    if not path.parent.is_dir():
        raise click.UsageError(f"--plot {file}: there is no folder {path.parent}")
    if not find_spec("matplotlib"):
        raise click.UsageError("--plot needs matplotlib: install the extra `bench`")
    return path


def bars(
    path: Path, title: str, panels: Mapping[str, Rates], *, pale: Collection[str] = (), unit: str = "events/s"
) -> None:
    """Draw a bar a contestant, as long as the median of its rounds, with a line from the smallest to the largest.

    `pale` are those that ours is compared with.
    """
    longest = sum(len(panel) + 1.5 for panel in panels.values())
    figure = _figure(title, longest * _BAR + _MARGIN)
    ratios = [len(panel) + 1 for panel in panels.values()]
    axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=ratios)[:, 0]
    for axis, (name, panel) in zip(axes, panels.items(), strict=True):
        _bars(axis, name, panel, pale)
    axes[-1].set_xlabel(unit)
    _save(figure, path)


def curves(path: Path, title: str, panels: Sequence[Curve]) -> None:
    """Draw a panel a curve, two beside each other, each from zero up: a flat curve looks flat."""
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = _figure(title, 2.6 * rows + 0.5)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis, curve in zip(axes, panels, strict=False):
        _curve(axis, curve)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    _save(figure, path)


def _figure(title: str, height: float) -> "Figure":
    from matplotlib.figure import Figure  # noqa: PLC0415 only where a picture is wanted

    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    figure.suptitle(title, fontsize=9)
    return figure


def _bars(axis: "Axes", name: str, panel: Rates, pale: Collection[str]) -> None:
    medians = [median(values) for values in panel.values()]
    below = [middle - min(values) for middle, values in zip(medians, panel.values(), strict=True)]
    above = [max(values) - middle for middle, values in zip(medians, panel.values(), strict=True)]
    colours = [_PALE if contestant in pale else _STRONG for contestant in panel]
    drawn = axis.barh(list(panel), medians, xerr=(below, above), color=colours, capsize=2, error_kw={"lw": 0.8})
    axis.bar_label(
        drawn, labels=[f"{value:,.0f}" if value >= _DIGITS else f"{value:.3g}" for value in medians], **_LABEL
    )
    axis.set_title(name, fontsize=8, loc="left")
    axis.invert_yaxis()
    axis.margins(x=0.15)
    _plain(axis)


def _curve(axis: "Axes", curve: Curve) -> None:
    sizes = sorted({size for points in curve.lines.values() for size in points})
    for name, points in curve.lines.items():
        axis.plot([sizes.index(size) for size in points], list(points.values()), marker="o", label=name)
    axis.set_xticks(range(len(sizes)), [_short(size) for size in sizes])  # steps are named: their widths say nothing
    axis.set_title(curve.title, fontsize=8, loc="left")
    axis.set_xlabel(curve.across, fontsize=7)
    axis.set_ylabel(curve.up, fontsize=7)
    axis.set_ylim(0, 1.2 * max(value for points in curve.lines.values() for value in points.values()))
    if len(curve.lines) > 1:
        axis.legend(fontsize=6, frameon=False)
    _plain(axis)


def _short(size: int) -> str:
    for unit, letter in ((1_000_000, "M"), (1_000, "k")):
        if size >= unit and not size % unit:
            return f"{size // unit}{letter}"
    return f"{size:,}"


def _plain(axis: "Axes") -> None:
    axis.tick_params(labelsize=7)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(visible=True, alpha=0.25, linewidth=0.5)


def _save(figure: "Figure", path: Path) -> None:
    import matplotlib as mpl  # noqa: PLC0415 likewise

    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "eventkit"}):
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
