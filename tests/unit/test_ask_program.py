"""What an error of breakglass-remote.pyz on a host says, and what to type then."""

import pytest

from breakglass.errors import AGAIN, Failed
from breakglass.observe.program import ask_program
from breakglass.plan import Argv, Host
from breakglass.ports import Result
from tests.facts import NODE


class Failing:
    """ports.Reads: a host on which every script fails."""

    def ask(self, host: Host, *pipeline: Argv, quiet_seconds: float = 30.0) -> Result:  # noqa: ARG002 (the protocol has them)
        return Result(4, b"", b"it failed\n")


@pytest.mark.parametrize(
    ("arguments", "look"),
    [
        (("taken", "read", "/var/breakglass"), "ls -la /var/breakglass"),
        (("taken", "read", "--certs", "/etc/c", "/d"), "ls -la /etc/c"),
        # It has no path of ours: what ctr is given is none.
        (
            ("content", "look", "--platform", "linux/amd64", "a:b", "--", "/usr/bin/ctr"),
            "systemctl status containerd",
        ),
    ],
)
def test_the_command_that_shows_the_cause_is_about_what_the_script_has_read(
    arguments: Argv, look: str
) -> None:
    with pytest.raises(Failed) as caught:
        ask_program(Failing(), NODE, arguments, {})
    assert caught.value.next_step.commands == (f"ssh {NODE.ssh} sudo {look}", AGAIN)
