"""How long a command may take to end when nobody waits for its work any more."""

import time

from breakglass.plan import Run, is_script
from breakglass.ssh.command import Command

END_SECONDS = 3.0
FED_END_SECONDS = 20.0
"""For a program that our script feeds: `ctr images import` may have the whole archive by then, and
unpacks it.
"""


def ends_in_time(step: Run, command: Command) -> bool:
    """Close standard input, which is the lifeline of a script, and wait for the command to end. If
    it does not, it is not known what it leaves behind.
    """
    command.end_input()
    deadline = time.monotonic() + end_seconds(step)
    while not command.wait():
        if time.monotonic() > deadline:
            return False
    return True


def end_seconds(step: Run) -> float:
    is_fed = any(is_script(argv) for argv in step.pipeline[:-1])
    return FED_END_SECONDS if is_fed else END_SECONDS
