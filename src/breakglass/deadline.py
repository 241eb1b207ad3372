"""Ask questions in threads, with a deadline. A thread that hangs is abandoned: a DNS resolver, or a
server that answers byte by byte, obeys no deadline.
"""

import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import TypeVar

T = TypeVar("T")

AT_ONCE = 32


class Late(Exception):
    """There was no answer in time."""


def within(seconds: float, question: Callable[[], T]) -> T:
    """The answer to one question. Raises Late, and what the question raises."""
    (answer,) = together([lambda: (question(),)], seconds=seconds)
    if answer is None:
        raise Late
    return answer[0]


def together(
    questions: Sequence[Callable[[], T]], *, at_once: int = AT_ONCE, seconds: float | None = None
) -> list[T | None]:
    """Ask all questions. The answers are in the same order; None is one that is missing after
    `seconds`. Raises what a question raises.

    Neither a signal nor the end of the process waits for a question that hangs.
    """
    answers: list[T | None] = [None] * len(questions)
    given_up = threading.Event()
    answered = _ask_in_threads(questions, at_once, given_up)
    ends_at = None if seconds is None else time.monotonic() + seconds
    try:
        for _ in questions:
            index, answer, error = answered.get(
                timeout=None if ends_at is None else max(0.0, ends_at - time.monotonic())
            )
            if error is not None:
                raise error
            answers[index] = answer
    except Empty:
        pass
    finally:
        given_up.set()
    return answers


def _ask_in_threads(
    questions: Sequence[Callable[[], T]], at_once: int, given_up: threading.Event
) -> "SimpleQueue[tuple[int, T | None, BaseException | None]]":
    """Start the threads. Each answer, or what was raised instead of it, comes with its index. Once
    `given_up` is set, no other question is asked.
    """
    waiting: SimpleQueue[int] = SimpleQueue()
    answered: SimpleQueue[tuple[int, T | None, BaseException | None]] = SimpleQueue()
    for index in range(len(questions)):
        waiting.put(index)

    def ask() -> None:
        while not given_up.is_set():
            try:
                index = waiting.get_nowait()
            except Empty:
                return
            try:
                answered.put((index, questions[index](), None))
            except BaseException as error:  # raised again where it is waited for
                answered.put((index, None, error))

    # No pool of the standard library: those are waited for when the process ends.
    for number in range(min(at_once, len(questions))):
        try:
            threading.Thread(target=ask, name="together", daemon=True).start()
        except RuntimeError:
            # No more threads may be started: those that run ask all the questions.
            if number == 0:
                raise
            break
    return answered
