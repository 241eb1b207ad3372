"""The next commands mean the same configuration and the same command as the line that was typed."""

import io
import sys

import pytest

from breakglass.cli.arguments import as_typed, command_of, typed_again, typed_next, typed_with
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


def test_a_configuration_that_stands_in_the_line_already_is_not_named_twice() -> None:
    words = ("-c", "/a/b.yaml", "pin", "k8s-node1")
    step = as_typed(then(typed_with(words, "--yes")), words)
    assert step.commands == ("breakglass -c /a/b.yaml pin k8s-node1 --yes",)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


COMMAND = ("--", "sh", "-c", "echo $SECRET")


@pytest.mark.parametrize(
    ("stream", "words", "again"),
    [
        (Terminal(), ("recover", *COMMAND), "recover -- sh -c 'echo $SECRET'"),
        (Terminal(), ("--json", "recover", *COMMAND), "--json recover -- sh ..."),
        (Terminal(), ("recover", "--json", *COMMAND), "recover --json -- sh ..."),
        (Terminal(), ("recover", "--", "sh", "-c", "a\nb"), "recover -- sh ..."),
        (Terminal(), ("recover", "--", "env", "--json"), "recover -- env --json"),
        (io.StringIO(), ("recover", *COMMAND), "recover -- sh ..."),
        (io.StringIO(), ("recover", "--", "true"), "recover -- true"),
        (io.StringIO(), ("sandbox", *COMMAND), "sandbox -- sh -c 'echo $SECRET'"),
    ],
)
def test_the_command_of_recover_is_whole_on_a_terminal_and_its_first_word_elsewhere(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, words: tuple[str, ...], again: str
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    assert typed_again(words) == f"breakglass {again}"
    ours, command = again.split(" -- ")
    assert typed_with(words, "--yes") == f"breakglass {ours} --yes -- {command}"
