"""The demo's figures are compared with their targets."""

from datetime import date

import msgspec
import pytest

from examples.flights.kills import Kill
from examples.flights.latency import Timed, percentile
from examples.flights.report import Figures, Target
from examples.flights.run import different

RIGHT = Figures(
    written=100,
    published=100,
    projected=100,
    lost=0,
    phantom=0,
    reordered=0,
    duplicates_absorbed=7,
    kills=3,
    read_models_equal=True,
    commit_to_read_model_p50_ms=10.0,
    commit_to_read_model_p99_ms=900.0,
    events_per_second=2000.0,
    seconds=50.0,
)
TARGET = Target(events=100, kills=3)


def test_right_figures_have_no_failures() -> None:
    """Duplicates and latencies are shown, and have no target."""
    assert TARGET.failures(RIGHT) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("written", 99),
        ("published", 99),
        ("projected", 101),
        ("lost", 1),
        ("phantom", 1),
        ("reordered", 1),
        ("kills", 2),
        ("read_models_equal", False),
    ],
)
def test_each_wrong_figure_is_a_failure_that_names_it(name: str, value: int) -> None:
    """One wrong figure, one sentence."""
    figures = Figures(**{**{field: getattr(RIGHT, field) for field in RIGHT.__dataclass_fields__}, name: value})

    failures = TARGET.failures(figures)

    assert len(failures) == 1
    assert failures[0].startswith(f"{name} is {value}, it must be")


def test_a_read_model_with_one_wrong_number_differs() -> None:
    """The sentence has the table, the key and both rows."""
    wanted = {"cancellations": {date(2013, 1, 1): (842, 4), date(2013, 1, 2): (943, 8)}}
    found = {"cancellations": {date(2013, 1, 1): (842, 4), date(2013, 1, 2): (943, 9)}}

    assert different(wanted, wanted) == []
    assert different(found, wanted) == [
        "cancellations differs from the raw data in 1 rows of 2: 2013-01-02 is (943, 9), pandas says (943, 8)"
    ]


@pytest.mark.parametrize("found", [{}, {"UA": (1,), "AA": (2,), "XX": (0,)}], ids=["missing", "invented"])
def test_a_read_model_with_a_row_too_few_or_too_many_differs(found: dict[str, tuple[int, ...]]) -> None:
    """Rows are compared both ways."""
    assert different({"delays": found}, {"delays": {"UA": (1,), "AA": (2,)}})


def test_a_percentile_is_a_latency_that_was_measured() -> None:
    """Nothing is interpolated; without samples there is none."""
    timed = [Timed(0, milliseconds * 1_000_000) for milliseconds in range(1, 101)]

    assert percentile(timed, 0.5) == 51
    assert percentile(timed, 0.99) == 100
    assert percentile([], 0.5) is None


def test_a_sample_under_way_at_a_kill_is_disturbed() -> None:
    """Also one that was committed before it, or became visible after it."""
    kill = Kill("relay", at=100, caught_up=200)

    assert kill.disturbed(Timed(90, 110))
    assert kill.disturbed(Timed(150, 160))
    assert kill.disturbed(Timed(190, 300))
    assert not kill.disturbed(Timed(50, 99))
    assert not kill.disturbed(Timed(201, 210))


def test_the_figures_are_written_with_the_keys_that_are_promised() -> None:
    """Scripts read them."""
    keys = (
        "written published projected lost phantom reordered duplicates_absorbed kills read_models_equal "
        "commit_to_read_model_p50_ms commit_to_read_model_p99_ms events_per_second seconds"
    )

    assert list(msgspec.to_builtins(RIGHT)) == keys.split()
