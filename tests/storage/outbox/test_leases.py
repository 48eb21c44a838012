"""Who may act: one holder at a time, its successors numbered, its late writes refused."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest

from eventkit.errors import Deposed
from eventkit.storage.db.connection import connect
from eventkit.storage.outbox import leases
from eventkit.storage.outbox.leases import Lease
from eventkit.storage.outbox.parking import RelayParking
from eventkit.storage.outbox.part_leases import Parts
from eventkit.storage.outbox.settlement import Settlement
from tests.waiting import wait_until

NewLease = Callable[[str], Lease]


@pytest.fixture
def new_lease(database_url: str) -> Iterator[NewLease]:
    """Make leases of one name for different owners."""
    with ExitStack() as made:

        def make(owner: str) -> Lease:
            connection = made.enter_context(closing(connect(database_url, name=owner, autocommit=True)))
            return Lease(connection, "eventkit", name="relay 0/1", owner=owner)

        yield make


def never() -> bool:
    """Nobody asks to stop."""
    return False


def test_the_first_to_come_holds_epoch_one(new_lease: NewLease) -> None:
    """A lease nobody has held is taken at once."""
    lease = new_lease("first")

    assert lease.acquire(never)
    assert lease.epoch == 1
    lease.check()


def test_a_standby_waits_while_the_holder_lives(new_lease: NewLease) -> None:
    """A second process does not act; asked to stop, it stops waiting."""
    new_lease("first").acquire(never)
    deadline = time.monotonic() + 2.5

    assert not new_lease("second").acquire(lambda: time.monotonic() > deadline)


def test_a_standby_takes_over_at_once_when_the_holder_is_killed(new_lease: NewLease) -> None:
    """The holder's lock goes with its connection; nobody waits for the lease to run out."""
    holder, standby = new_lease("first"), new_lease("second")
    holder.acquire(never)
    waiting = threading.Thread(target=standby.acquire, args=(never,))
    waiting.start()

    holder._connection.close()

    waiting.join(timeout=leases.SECONDS / 2)
    assert standby.epoch == 2


def test_a_standby_takes_over_from_a_hung_holder_when_its_time_is_over(
    new_lease: NewLease, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A holder that does not renew (stopped, paused) is replaced by the database's clock though it keeps its lock."""
    monkeypatch.setattr(leases, "SECONDS", 1.5)
    monkeypatch.setattr(leases, "RENEWAL", 1000.0)
    holder, standby = new_lease("hung"), new_lease("second")
    holder.acquire(never)

    assert standby.acquire(never)
    assert standby.epoch == 2
    with pytest.raises(Deposed, match="epoch 1"):
        holder.check()


def test_a_holder_that_renews_stays(new_lease: NewLease, monkeypatch: pytest.MonkeyPatch) -> None:
    """Renewals carry a lease past its first expiry."""
    monkeypatch.setattr(leases, "SECONDS", 1.0)
    monkeypatch.setattr(leases, "RENEWAL", 0.2)
    holder = new_lease("first")
    holder.acquire(never)
    first = holder._deadline

    wait_until(lambda: holder._deadline > first + 1.0, what="renewals past the first expiry")

    holder.check()


def test_a_released_lease_is_taken_at_once(new_lease: NewLease) -> None:
    """A clean end lets a standby in without waiting."""
    holder = new_lease("first")
    holder.acquire(never)

    holder.release()

    standby = new_lease("second")
    assert standby.acquire(never)
    assert standby.epoch == 2


def test_two_standbys_never_both_take_it(new_lease: NewLease) -> None:
    """Of many who want the next epoch, one gets it."""
    holder = new_lease("first")
    holder.acquire(never)
    standbys = [new_lease(f"standby {number}") for number in range(4)]
    stopped = threading.Event()
    threads = [threading.Thread(target=standby.acquire, args=(stopped.is_set,)) for standby in standbys]
    for thread in threads:
        thread.start()

    holder._connection.close()
    wait_until(lambda: any(standby.epoch for standby in standbys), what="a successor")
    stopped.set()
    for thread in threads:
        thread.join()

    assert sorted(standby.epoch for standby in standbys) == [0, 0, 0, 2]


def test_a_deposed_relay_settles_and_parks_nothing(database_url: str, new_lease: NewLease) -> None:
    """Every write checks the epoch: a zombie changes nothing and gets an error."""
    holder = new_lease("zombie")
    holder.acquire(never)
    connection = connect(database_url, name="settlement", autocommit=True)
    zombie = Settlement(connection, "eventkit", parts=Parts({0: holder.epoch}))
    zombie.settle([1])
    holder.release()
    new_lease("successor").acquire(never)

    with pytest.raises(Deposed, match="nothing was changed"):
        zombie.settle([1])
    with pytest.raises(Deposed, match="nothing was changed"):
        RelayParking(zombie).park(1, "refused")
    connection.close()
