"""One answer for all who ask the same at the same time."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class Shared(Generic[T]):
    """A question that is asked once while its answer is on the way. The next call asks anew."""

    def __init__(self, question: Callable[[], T]) -> None:
        self._question = question
        self._lock = threading.Lock()
        self._under_way: Future[T] | None = None

    def __call__(self) -> T:
        with self._lock:
            under_way, answer = self._under_way, Future[T]()
            if under_way is None:
                self._under_way = answer
        if under_way is not None:
            return under_way.result()
        try:
            answer.set_result(self._question())
        except BaseException as error:  # for those who wait, and for who asked
            answer.set_exception(error)
        with self._lock:
            self._under_way = None
        return answer.result()
