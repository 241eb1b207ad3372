"""A command that does not exist leads to the one that was meant."""

import pytest

from breakglass.cli.exit_codes import BY_COMMAND
from breakglass.cli.suggestions import meant_by


@pytest.mark.parametrize(
    ("word", "command"),
    [
        *(
            (word, "restore")
            for word in ("unpin", "undo", "uncordon", "rollback", "UNPIN", "unpinn", "unpn")
        ),
        *((word, "restore") for word in ("revert", "unimport", "unserve", "depin", "restor")),
        ("save", "snapshot"),
        ("pull", "fetch"),
        ("push", "fetch"),
        ("load", "import"),
        ("cordon", "pin"),
        ("recoverr", "recover"),
        ("chek", "check"),
        ("statsu", "status"),
        ("burn", None),
        ("describe", None),
        ("", None),
        ("x" * 300, None),
    ],
)
def test_what_was_meant(word: str, command: str | None) -> None:
    assert meant_by(word, BY_COMMAND) == command


def test_only_commands_that_exist_are_suggested() -> None:
    assert meant_by("unpin", ["pin"]) != "restore"
    assert meant_by("load", ["pin"]) is None
