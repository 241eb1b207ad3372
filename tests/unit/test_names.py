"""What an error of fetch, import and recover names as next keeps what was typed."""

import pytest

from breakglass.cli.names import keeping
from breakglass.errors import AGAIN, Command, Refused, then


@pytest.mark.parametrize(
    ("tag", "command", "kept"),
    [
        ("t", "breakglass fetch", "breakglass fetch --tag t"),
        ("t", "breakglass import n", "breakglass import n --tag t"),
        ("t", "breakglass import n --tag other", "breakglass import n --tag other"),
        (None, "breakglass import n", "breakglass import n"),
        ("t", "breakglass recover --anyway", "breakglass recover --anyway --tag t -- true"),
        (None, "breakglass recover n", "breakglass recover n -- true"),
        ("t", "breakglass recover --help", "breakglass recover --help"),
        ("t", "breakglass restore", "breakglass restore"),
        ("t", "ssh n df -h", "ssh n df -h"),
        ("t", AGAIN, AGAIN),
    ],
)
def test_the_next_command_keeps_the_tag_and_the_command_of_recover(
    tag: str | None, command: Command, kept: Command
) -> None:
    with pytest.raises(Refused) as caught, keeping(tag, behind=" -- true"):
        raise Refused("no", next_step=then(command))
    assert caught.value.next_step.commands == (kept,)
