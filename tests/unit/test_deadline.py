"""Asking several parts of the environment at once."""

import signal
import threading
import time

import pytest

from breakglass.deadline import Late, together, within


def test_answers_come_in_the_order_of_the_questions() -> None:
    def slow() -> str:
        time.sleep(0.05)
        return "slow"

    assert together([slow, lambda: "fast"]) == ["slow", "fast"]


def test_one_that_hangs_has_no_answer_and_the_others_have_theirs() -> None:
    for_ever = threading.Event()
    assert together([for_ever.wait, lambda: True], seconds=0.2) == [None, True]
    for_ever.set()


@pytest.mark.parametrize("allowed", [1, 2])
def test_where_no_more_threads_may_be_started_those_that_run_ask_everything(
    monkeypatch: pytest.MonkeyPatch, allowed: int
) -> None:
    start, left = threading.Thread.start, [allowed]

    def limited(thread: threading.Thread) -> None:
        if thread.name == "together":
            if not left[0]:
                raise RuntimeError("can't start new thread")
            left[0] -= 1
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    assert together([lambda: 1, lambda: 2, lambda: 3]) == [1, 2, 3]


def test_no_more_are_asked_at_once_than_was_said() -> None:
    running, most, lock = 0, 0, threading.Lock()

    def question() -> bool:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1
        return True

    assert together([question] * 9, at_once=3) == [True] * 9
    assert most == 3


def test_what_a_question_raises_is_raised_where_it_was_asked() -> None:
    def fails() -> bool:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        together([fails, lambda: True])


def test_a_question_within_its_time_is_answered_or_raises_and_after_it_is_late() -> None:
    for_ever = threading.Event()
    assert within(5, lambda: None) is None
    with pytest.raises(ZeroDivisionError):
        within(5, lambda: 1 / 0)
    with pytest.raises(Late):
        within(0.05, for_ever.wait)
    for_ever.set()


def test_a_signal_ends_the_waiting_at_once() -> None:
    for_ever = threading.Event()

    class Came(BaseException):
        pass

    def on(*_: object) -> None:
        raise Came

    before = signal.signal(signal.SIGUSR1, on)
    try:
        threading.Timer(
            0.1, lambda: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        ).start()
        began = time.monotonic()
        with pytest.raises(Came):
            together([for_ever.wait], seconds=20)
        assert time.monotonic() - began < 10
    finally:
        signal.signal(signal.SIGUSR1, before)
        for_ever.set()
