"""Kept answers: a question to a server that hangs holds one thread, and delays no probe for long."""

import threading
from contextlib import suppress

import pytest

from eventkit.errors import DatabaseUnavailable
from eventkit.health.kept_answer import KeptAnswer, Unanswered
from tests.waiting import wait_until


class Asked:
    """A question that waits until it may be answered, and counts how often it was asked."""

    def __init__(self) -> None:
        self.times = 0
        self.may_answer = threading.Event()

    def __call__(self) -> str:
        self.times += 1
        self.may_answer.wait(60)
        return f"answer {self.times}"


def test_a_storm_of_probes_asks_once() -> None:
    """A thousand calls within the time of an answer ask one question."""
    asked = Asked()
    asked.may_answer.set()
    kept = KeptAnswer(asked, fresh=3600, stale=3600, patience=60)

    assert {kept.get() for _ in range(1_000)} == {"answer 1"}
    assert asked.times == 1


def test_a_question_that_hangs_is_asked_once_and_said() -> None:
    """Probes get a reason with the time, and no further thread is started."""
    asked = Asked()
    kept = KeptAnswer(asked, patience=0.01)

    for _ in range(3):
        with pytest.raises(Unanswered, match=r"no answer for \d+\.\d s"):
            kept.get()
    assert asked.times == 1
    asked.may_answer.set()


def test_the_answer_after_a_hang_is_used() -> None:
    """When a hung question is answered at last, the next probe gets the answer."""
    asked = Asked()
    kept = KeptAnswer(asked, fresh=3600, stale=3600, patience=0.01)
    with pytest.raises(Unanswered):
        kept.get()
    asked.may_answer.set()

    def answered() -> str:
        with suppress(Unanswered):
            return kept.get()
        return ""

    assert wait_until(answered) == "answer 1"


def test_an_old_answer_counts_while_the_next_one_is_under_way() -> None:
    """A slow answer does not make a probe fail, until the last one is stale."""
    asked = Asked()
    asked.may_answer.set()
    kept = KeptAnswer(asked, fresh=0, stale=3600, patience=60)
    assert kept.get() == "answer 1"
    asked.may_answer.clear()

    assert kept.get() in ("answer 1", "answer 2")
    asked.may_answer.set()


def test_a_failure_is_kept_as_its_reason() -> None:
    """An error of eventkit is given as its text, another one as its class: its text may quote anything."""

    def fail() -> str:
        raise DatabaseUnavailable("PostgreSQL at db:5432 cannot be reached")

    def break_down() -> str:
        raise ZeroDivisionError("secret")

    with pytest.raises(Unanswered, match="PostgreSQL at db:5432 cannot be reached"):
        KeptAnswer(fail, patience=60).get()
    with pytest.raises(Unanswered, match="unexpected ZeroDivisionError") as caught:
        KeptAnswer(break_down, patience=60).get()
    assert "secret" not in str(caught.value)
