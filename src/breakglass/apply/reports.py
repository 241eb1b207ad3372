"""What a plan reports while it is being done."""

from typing import Protocol

from breakglass.plan import Step


class Reports(Protocol):
    """Receives how far the plan is."""

    def started(self, index: int, step: Step) -> None: ...

    def progress(self, done_bytes: int) -> None: ...

    def ended(self, index: int, step: Step, *, ok: bool, seconds: float) -> None: ...

    def undoing(self, step: Step) -> None: ...
