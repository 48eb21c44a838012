"""An evolve method sees the same aggregate when an event is recorded and when it is loaded."""

from dataclasses import dataclass, field

import pytest
from sqlalchemy.orm import Session

from eventkit import Aggregate, Catalog, EventStore, Repository, evolve
from eventkit.aggregates.snapshots import Snapshots
from eventkit.errors import AggregateError
from eventkit.testing import given

shop = Catalog("shop")
store = EventStore(shop)


@shop.event
@dataclass(frozen=True)
class Added:
    """Something was added."""

    number: int


@dataclass
class Basket(Aggregate):
    """Keeps the versions and streams it saw."""

    seen: list[tuple[str, int]] = field(default_factory=list)
    last: int = 0

    @evolve
    def added(self, event: Added) -> None:
        """See."""
        self.last = event.number
        self.seen.append((str(self.stream), self.version))


baskets = Repository(store, Basket, category="basket")
kept = Repository(store, Basket, category="basket", snapshots=Snapshots(every=2))


@pytest.mark.parametrize("repository", [baskets, kept])
def test_stream_and_version_are_the_events(session: Session, repository: Repository[Basket]) -> None:
    """Before the save, after it, and when it is loaded; outside of evolve methods the version is the stored one."""
    with repository.change(session, 1) as basket:
        basket.record(Added(1), Added(2))
        assert basket.version == 0
    basket.record(Added(3))
    repository.save(session, basket)

    loaded = repository.load(session, 1)

    assert basket.seen == loaded.seen == [("basket-1", 1), ("basket-1", 2), ("basket-1", 3)]
    assert basket.version == loaded.version == 3


def test_a_scenario_sees_the_same() -> None:
    """Given events are at their versions, and events recorded after them follow."""
    given(Basket, Added(1), Added(2)).when(Basket.record, Added(3)).then(Added(3))


def test_recording_while_the_state_is_evolved_is_refused() -> None:
    """Each load would record it again."""

    class Eager(Aggregate):
        @evolve
        def added(self, event: Added) -> None:
            if event.number:
                self.record(Added(0))

    with pytest.raises(AggregateError, match="recorded an event while its state was evolved"):
        Repository(store, Eager, category="eager").new(1).record(Added(1))


def test_reading_recorded_events_while_the_state_is_evolved_is_refused() -> None:
    """It is empty when the aggregate is loaded."""

    class Counting(Aggregate):
        count = 0

        @evolve
        def added(self, event: Added) -> None:
            self.count = len(self.recorded) + event.number

    with pytest.raises(AggregateError, match="recorded was read while its state was evolved"):
        Repository(store, Counting, category="counting").new(1).record(Added(1))
