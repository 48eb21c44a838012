"""The progress of a member in a partition: only unacknowledged messages take memory."""

from hypothesis import given
from hypothesis import strategies as st

from eventkit.transports.progress import PartitionProgress

KEYS = ["a", "b", "c"]


class Plain:
    """The same, by counting: every delivery is kept."""

    def __init__(self) -> None:
        self.delivered: list[tuple[int, str]] = []
        self.done: set[int] = set()

    @property
    def resume(self) -> int | None:
        """The first that is not acknowledged, or the one after the last."""
        left = [offset for offset, _ in self.delivered if offset not in self.done]
        return left[0] if left else self.delivered[-1][0] + 1 if self.delivered else None


@given(st.lists(st.one_of(st.sampled_from(KEYS), st.integers(0, 30)), max_size=40))
def test_the_offset_to_resume_at_is_the_first_unacknowledged_one(steps: list[str | int]) -> None:
    """In any order of deliveries and acknowledgements: a key is a delivery, a number acknowledges one of them."""
    progress, plain = PartitionProgress(), Plain()
    for step in steps:
        if isinstance(step, str):
            offset = 2 * len(plain.delivered)  # with holes, as transactions leave them
            progress.delivered(offset, step)
            plain.delivered.append((offset, step))
        elif plain.delivered:
            offset, key = plain.delivered[step % len(plain.delivered)]
            progress.acknowledge(offset, key)
            plain.done |= {other for other, its in plain.delivered if its == key and other <= offset}
            progress.advance()
            assert progress.is_clear == (len(plain.done) == len(plain.delivered))
            assert progress.resume == plain.resume


def test_only_unacknowledged_messages_take_memory() -> None:
    """A message that nobody acknowledges for long, and a hundred thousand of other keys behind it."""
    progress = PartitionProgress()
    progress.delivered(0, "waits")
    for offset in range(1, 100_001):
        progress.delivered(offset, f"order-{offset}")
        progress.acknowledge(offset, f"order-{offset}")
        progress.advance()

    assert progress.resume == 0
    assert len(progress._delivered) == 1  # its only list
    progress.acknowledge(0, "waits")
    assert progress.advance()
    assert progress.resume == 100_001
