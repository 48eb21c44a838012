"""A projector that hangs in the middle of a transaction delays the streams of its batch, and no others."""

from pathlib import Path

import pytest

from tests.faults.neighbours import BATCH, measure, names
from tests.servers.kafka import GivenKafka, KafkaServer


@pytest.mark.parametrize("known", [True, False], ids=["known streams", "new streams"])
def test_a_hung_projector_delays_the_streams_of_its_batch_only(
    database_url: str, kafka: KafkaServer | GivenKafka, tmp_path: Path, *, known: bool
) -> None:
    """The others are up to date, and stay so, while it holds its locks; `python -m tests.faults` says how soon."""
    lag = measure(database_url, kafka, tmp_path, known=known)
    print(lag)  # noqa: T201 the figures, with -s

    assert lag.stopped, (tmp_path / "projectors.log").read_text()
    assert lag.behind <= {*names(BATCH)}
    assert lag.exact
