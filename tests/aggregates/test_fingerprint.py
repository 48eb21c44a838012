"""A changed fold has another fingerprint; the same fold has the same in every process."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from eventkit.aggregates.decider import Decider
from eventkit.aggregates.fingerprint import fingerprint
from tests.aggregates.shop import Added, Cart, decide, evolve_cart, shop

PROGRAM = """
import importlib, sys
from eventkit.aggregates.aggregate import fold_of
from eventkit.aggregates.fingerprint import fingerprint
for name in sys.argv[1:]:
    pricing = importlib.import_module(f"{name}.pricing")
    print(fingerprint(fold_of(pricing.Bill), pricing.shop, 1))
"""
SOURCE = (Path(__file__).parent / "pricing.py").read_text()
CHANGES = {
    "an evolve method": ("self._count()", "self._count() or 0"),
    "a method that it calls": ("sum((", "1 * sum(("),
    "a method of the state's parts": ("return taxed(self.price", "return 2 * taxed(self.price"),
    "a method of an event": ("Line(self.item, self.price)", "Line(self.item, 2 * self.price)"),
    "a function of the package": ("return price * (1", "return price * (2"),
    "a decorator of the package": ("        function(*args)\n", "        function(*args)\n        function(*args)\n"),
    "a function for one class": ("return len(item)", "return 2 * len(item)"),
    "a cached function": ("round(price, 2)", "round(price, 3)"),
    "a table of constants": ('"0.19"', '"0.16"'),
    "a set of constants": ('"note", "pen"', '"note", "ink"'),
    "a field's type": ("    total: Decimal = Decimal(0)", "    total: Decimal | None = Decimal(0)"),
    "a field's name": ("total", "sum_total"),
    "the initial state": ("    total: Decimal = Decimal(0)", "    total: Decimal = Decimal(1)"),
    "a value of an enumeration": ('GOOD = "good"', 'GOOD = "goods"'),
    "an event's schema version": ("@shop.event\n", "@shop.event(version=2, oldest=2)\n"),
}


def fingerprints(folder: Path, *sources: str, seed: str = "0") -> list[str]:
    """Return the fingerprints of the fold in each source, from one process."""
    for nth, source in enumerate(sources):
        (folder / f"shop{nth}").mkdir(exist_ok=True)
        (folder / f"shop{nth}" / "pricing.py").write_text(source)
    names = [f"shop{nth}" for nth in range(len(sources))]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONHASHSEED": seed}
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, *names], env=environment, capture_output=True, text=True, check=True
    )
    return ran.stdout.split()


def test_a_fold_of_callables_is_seen_too() -> None:
    """A decider's evolve may be a partial or an object with `__call__`."""

    class Evolving:
        def __call__(self, state: Cart, event: Added) -> Cart:
            return Cart((*state.items, event.item))

    class Other:
        def __call__(self, state: Cart, _: Added) -> Cart:
            return state

    decided = [evolve_cart, partial(evolve_cart), Evolving(), Other()]
    folds = [Decider(Cart, decide, evolve, events=[Added]).fold for evolve in decided]  # type: ignore[arg-type]

    assert len({fingerprint(fold, shop, 1) for fold in folds}) == 4


@pytest.fixture(scope="module")
def all_fingerprints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The fingerprint of the fold after each change."""
    changed = [SOURCE.replace(*change) for change in CHANGES.values()]
    assert len({SOURCE, *changed}) == len(changed) + 1
    found = fingerprints(tmp_path_factory.mktemp("folds"), SOURCE, *changed)
    return dict(zip(["nothing", *CHANGES], found, strict=True))


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_fold_never_reads_an_old_snapshot(all_fingerprints: dict[str, str], change: str) -> None:
    """Any change of the fold changes its fingerprint."""
    assert all_fingerprints[change] != all_fingerprints["nothing"]


def test_the_same_fold_is_the_same_in_every_process(tmp_path: Path, all_fingerprints: dict[str, str]) -> None:
    """Hashes of strings, order of sets and addresses differ from process to process; fingerprints do not."""
    assert fingerprints(tmp_path, SOURCE, seed="1") == fingerprints(tmp_path, SOURCE, seed="2")
    assert fingerprints(tmp_path, SOURCE, seed="3") == [all_fingerprints["nothing"]]


def test_decisions_comments_and_places_are_no_part_of_the_fold(
    tmp_path: Path, all_fingerprints: dict[str, str]
) -> None:
    """Another decision, a comment or another place in the file keep all snapshots."""
    other = "\n\n# moved\n" + SOURCE.replace("self.record(Bought(item))", "self.record(Bought(item), Bought(item))")

    assert fingerprints(tmp_path, other) == [all_fingerprints["nothing"]]
