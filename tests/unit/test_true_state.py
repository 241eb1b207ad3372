"""No error says that nothing was changed where something was."""

import pytest

from breakglass.cli.outcome import Outcome, StepOutcome, with_true_state
from breakglass.errors import (
    BreakglassError,
    Busy,
    Failed,
    Integrity,
    Interrupted,
    Refused,
    Unreachable,
    Usage,
)
from breakglass.plan import Host, Run

DONE = StepOutcome(Run(Host("node", "node"), (("touch", "x"),)), status="done")


@pytest.mark.parametrize(
    ("error", "kind", "state"),
    [
        (Unreachable("API"), Failed, "1 of 1 steps were done."),
        (Refused("cordoned"), Failed, "1 of 1 steps were done."),
        (Busy("locked"), Failed, "1 of 1 steps were done."),
        (
            Busy("locked", state="Nothing was changed by this run. Cordoned by us: k8s-node2."),
            Failed,
            "Cordoned by us: k8s-node2.",
        ),
        (Usage("no terminal"), Failed, "1 of 1 steps were done."),
        (Failed("ctr: no", state="k8s-node1 keeps an image."), Failed, "k8s-node1 keeps an image."),
        (Integrity("other bytes"), Integrity, "It was not used."),
        (Interrupted(15, state="as read"), Interrupted, "as read"),
    ],
)
def test_after_a_change_the_state_is_what_was_done(
    error: BreakglassError, kind: type[BreakglassError], state: str
) -> None:
    outcome = Outcome("recover", changed=True, steps=[DONE])
    shown = with_true_state(outcome, error)
    assert (type(shown), shown.state, shown.message) == (kind, state, error.message)


def test_without_a_change_an_error_stays_what_it_is() -> None:
    error = Unreachable("API")
    assert with_true_state(Outcome("recover"), error) is error
