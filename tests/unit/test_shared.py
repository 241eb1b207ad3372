"""Who asks while the answer is on the way gets the same answer."""

import threading

import pytest

from breakglass.deadline import together
from breakglass.kube.shared import Shared


def test_two_that_ask_at_the_same_time_share_one_answer() -> None:
    asked, both = list[int](), threading.Event()

    def question() -> int:
        asked.append(1)
        both.wait(0.3)  # the other asks meanwhile
        return len(asked)

    shared = Shared(question)
    assert together([shared, shared, shared]) == [1, 1, 1]
    both.set()
    assert shared() == 2, "the next call asks anew"


def test_a_failure_is_shared_and_the_next_call_asks_anew() -> None:
    failures = [OSError("first")]

    def question() -> str:
        if failures:
            raise failures.pop()
        return "answer"

    shared = Shared(question)
    with pytest.raises(OSError, match="first"):
        shared()
    assert shared() == "answer"
