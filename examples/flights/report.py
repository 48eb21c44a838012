"""The demo's figures: their targets, the table on the screen and the JSON file."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The figures that `--report` writes; the names are its keys."""

    written: int
    published: int
    projected: int
    lost: int
    phantom: int
    reordered: int
    duplicates_absorbed: int
    kills: int
    read_models_equal: bool
    commit_to_read_model_p50_ms: float | None
    commit_to_read_model_p99_ms: float | None
    events_per_second: float
    seconds: float

    def write(self, file: Path) -> None:
        """Write them as JSON."""
        file.write_text(json.dumps(asdict(self), indent=2) + "\n")


@dataclass(frozen=True, kw_only=True)
class Target:
    """The targets that follow from the raw data and the plan of the run."""

    events: int
    kills: int

    def failures(self, figures: Figures) -> list[str]:
        """Return a sentence for each figure that misses its target."""
        must_be = {
            "written": self.events,
            "published": self.events,
            "projected": self.events,
            "lost": 0,
            "phantom": 0,
            "reordered": 0,
            "kills": self.kills,
            "read_models_equal": True,
        }
        found = asdict(figures)
        return [
            f"{name} is {found[name]}, it must be {value}" for name, value in must_be.items() if found[name] != value
        ]


@dataclass(frozen=True, kw_only=True)
class Story:
    """The lines that the table adds to the figures."""

    flights: int
    transactions: int
    rolled_back: int
    samples: int
    undisturbed_p50_ms: float | None
    undisturbed_p99_ms: float | None


def table(figures: Figures, story: Story) -> Table:
    """Lay the figures out for the screen."""
    shown = Table(show_header=False, title="What became of the flights", title_justify="left")
    shown.add_column(style="bold")
    shown.add_column(justify="right")
    shown.add_column(style="dim")
    for name, value, meaning in _rows(figures, story):
        shown.add_row(name, value, meaning)
    return shown


def _rows(figures: Figures, story: Story) -> list[tuple[str, str, str]]:
    rows = f"{story.flights:,} flights in {story.transactions:,} transactions, {story.rolled_back:,} more rolled back"
    return [
        ("written", f"{figures.written:,}", f"events committed: {rows}"),
        ("published", f"{figures.published:,}", "of these on the topic"),
        ("projected", f"{figures.projected:,}", "of these in all three read models"),
        ("lost", f"{figures.lost:,}", "committed, never on the topic"),
        ("phantom", f"{figures.phantom:,}", "on the topic, never committed"),
        ("out of order", f"{figures.reordered:,}", "first delivered after a later event of the same flight"),
        ("duplicates absorbed", f"{figures.duplicates_absorbed:,}", "sent twice, applied once"),
        ("kills survived", f"{figures.kills:,}", "kill -9 of relay or projector with work under way"),
        (
            "read models",
            "equal" if figures.read_models_equal else "DIFFERENT",
            "to pandas on the raw data, every number",
        ),
        (
            "commit to read model p50",
            _ms(figures.commit_to_read_model_p50_ms),
            f"of {story.samples:,} transactions, at the demo's pace",
        ),
        ("commit to read model p99", _ms(figures.commit_to_read_model_p99_ms), "the kills included"),
        ("away from the kills", f"{_ms(story.undisturbed_p50_ms)} / {_ms(story.undisturbed_p99_ms)}", "p50 / p99"),
        ("events/s", f"{figures.events_per_second:,.0f}", "first commit to last read model, at the demo's pace"),
        ("seconds", f"{figures.seconds:.1f}", "all in all, set-up included"),
    ]


def _ms(value: float | None) -> str:
    return "none" if value is None else f"{value:,.1f} ms"
