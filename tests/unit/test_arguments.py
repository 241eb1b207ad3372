"""The next commands mean the same configuration and the same command as the line that was typed."""

import pytest

from breakglass.cli.arguments import as_typed, command_of, typed_next
from breakglass.errors import AGAIN, Refused, then


@pytest.mark.parametrize(
    "options",
    [
        ("--config", "/a/b.yaml"),
        ("--config=/a/b.yaml",),
        ("-c", "/a/b.yaml"),
        ("-c/a/b.yaml",),
        ("-vc", "/a/b.yaml"),
        ("-vc/a/b.yaml",),
        ("--json", "-c", "/a/b.yaml"),
        ("-c", "/first.yaml", "-c", "/a/b.yaml"),
    ],
    ids=" ".join,
)
def test_the_next_command_names_the_configuration_however_it_was_typed(
    options: tuple[str, ...],
) -> None:
    words = (*options, "import", "k8s-node1")
    step = as_typed(then("breakglass fetch k8s-node1"), words)
    assert step.commands == ("breakglass --config /a/b.yaml fetch k8s-node1",)
    assert command_of(words) == "import"


@pytest.mark.parametrize(
    "words",
    [
        ("check",),
        ("-v", "check"),
        ("--verbose", "check"),
        ("recover", "--", "sh", "-c", "true"),
        ("import", "-c", "/a/b.yaml"),
    ],
    ids=" ".join,
)
def test_what_is_no_configuration_is_not_named(words: tuple[str, ...]) -> None:
    assert as_typed(then("breakglass status"), words).commands == ("breakglass status",)


def test_the_same_command_again_is_the_line_as_it_was_typed() -> None:
    words = ("-vc", "/a/b c.yaml", "import", "k8s-node1")
    step = typed_next(Refused("no", next_step=then(AGAIN)), words)
    assert step.commands == ("breakglass -vc '/a/b c.yaml' import k8s-node1",)
