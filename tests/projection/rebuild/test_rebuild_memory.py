"""How a rebuild shares out the memory that it may take."""

import re

import pytest

from eventkit.errors import ConfigurationError
from eventkit.projection.rebuild.memory import MemoryShare, resident, shares

MB = 1_000_000


@pytest.mark.parametrize("process", [40, 60, 80, 150])
@pytest.mark.parametrize("memory", [250, 400, 1_000, 4_000])
@pytest.mark.parametrize("workers", [1, 2, 4, 16])
def test_all_processes_together_stay_below_their_memory_limit(process: int, memory: int, workers: int) -> None:
    """Each with its modules and its share; the process that waits for workers counts, too."""
    found, share = shares(memory * MB, workers=workers, process=process * MB)

    assert 1 <= found <= workers
    processes = found + 1 if found > 1 else 1
    assert processes * process * MB + found * share.memory <= memory * MB


@pytest.mark.parametrize(("memory", "workers"), [(250, 2), (200, 1), (400, 4), (10_000, 16)])
def test_more_memory_gives_more_workers(memory: int, workers: int) -> None:
    """As many as fit beside each other, up to the requested number."""
    assert shares(memory * MB, workers=16, process=60 * MB)[0] == workers


def test_with_enough_memory_a_transaction_is_as_large_as_it_can_be() -> None:
    """More at once would not be faster."""
    assert shares(10_000 * MB, workers=2, process=60 * MB) == (2, MemoryShare())


def test_a_limit_below_one_process_is_refused_with_the_needed_size() -> None:
    """The size it names is enough. Without a limit, nothing is refused."""
    with pytest.raises(ConfigurationError, match="say --memory") as error:
        shares(50 * MB, workers=4, process=60 * MB)

    needed = re.search(r"--memory (\d+)MB", str(error.value))
    assert needed
    assert shares(int(needed[1]) * MB, workers=4, process=60 * MB)[0] == 1
    assert shares(None, workers=4, process=600 * MB)[0] == 1


def test_the_memory_of_this_process_is_known() -> None:
    """In bytes."""
    assert 10 * MB < resident() < 10_000 * MB
