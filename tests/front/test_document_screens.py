"""The screens and blocks of the documents are real: each is typed in the sandbox and compared."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from breakglass import config
from breakglass.sandbox.environment import Environment, raise_environment
from tests.front.documents import ROOT, blocks

SANDBOX = "docs/sandbox.md"


@pytest.fixture
def environment() -> Iterator[Environment]:
    with raise_environment() as raised:
        yield raised


@pytest.mark.slow
def test_the_screens_of_the_sandbox_page_are_what_the_sandbox_shows(
    environment: Environment,
) -> None:
    marked = [block for block in blocks(SANDBOX) if block.is_for_the_sandbox]
    assert len(marked) > 4
    for block in marked:
        for command, expected in screens(block.text):
            ended = run(environment, block.preparation, command)
            assert ended.returncode == 0, f"{block}: {command}\n{ended.stdout}"
            shows(expected, ended.stdout.splitlines(), where=f"{block}: {command}")


def test_the_screen_that_opens_the_sandbox_is_its_banner(environment: Environment) -> None:
    (screen,) = (
        block
        for block in blocks(SANDBOX)
        if block.language == "console" and not block.is_for_the_sandbox
    )
    ((command, expected),) = screens(screen.text)
    assert command == "breakglass sandbox"
    shows(expected, environment.banner.splitlines(), where=str(screen))


def test_a_screen_that_is_not_real_would_be_noticed() -> None:
    for expected in (["one", "two"], ["one", "...", "four"], ["o... x"], ["one"]):
        with pytest.raises(AssertionError):
            shows(expected, ["one", "three"], where="")
    shows(["o...", "...", "three"], ["one", "two", "three"], where="")


@pytest.mark.slow
def test_every_block_of_the_runbook_that_is_marked_runs_in_the_sandbox_in_order(
    environment: Environment, tmp_path: Path
) -> None:
    marked = [block for block in blocks("runbook.md") if block.is_for_the_sandbox]
    assert len(marked) > 15
    has_kubectl = shutil.which("kubectl") is not None
    answers = []
    for block in marked:
        if block.needs_kubectl and not has_kubectl:
            run(environment, block.preparation, "true")
            continue
        command = (
            block.text
            if block.host is None
            else f"sandbox run {block.host} -- sh -euc "
            + shlex.quote(on_a_node(environment, block.text))
        )
        ended = run(environment, block.preparation, command, directory=tmp_path)
        assert ended.returncode == 0, f"{block}\n{ended.stdout}"
        answers += re.findall(r"^exit code (\d+)$", ended.stdout, re.MULTILINE)
    assert answers == ["0", "10"], "the page begins in an outage and ends without one"
    # The commands by hand did what `import` does: no name is left for `import` to make but those by
    # digest.
    (by_hand,) = {block.host for block in marked if block.host}
    made = run(environment, "", f"breakglass import {by_hand}").stdout
    assert "images import -" not in made
    assert [
        line.split()[-1].partition("/")[0]
        for line in made.splitlines()
        if re.match(r" *\d+\. .* images tag ", line) and "@sha256:" not in line
    ] == ["breakglass.local"]


def test_the_demo_touches_nothing_outside_of_a_sandbox() -> None:
    environ = {
        name: value for name, value in os.environ.items() if name != "BREAKGLASS_SANDBOX_CONTROL"
    }
    ended = subprocess.run(
        ["sh", "examples/demo.sh"],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "make demo" in ended.stderr


def screens(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each command of a console block, and the lines shown after it."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, *expected = part.splitlines()
        yield command, expected


def shows(expected: list[str], lines: list[str], *, where: str) -> None:
    """Assert that these are the expected lines, in order and complete. `...` in a line stands for
    any text, a line of `...` for any lines.
    """
    at, may_skip = 0, False
    for wanted in expected:
        if wanted == "...":
            may_skip = True
            continue
        pattern = ".*".join(re.escape(part) for part in wanted.split("..."))
        while may_skip and at < len(lines) and not re.fullmatch(pattern, lines[at]):
            at += 1
        assert at < len(lines), f"{where}: {wanted!r} is not shown"
        assert re.fullmatch(pattern, lines[at]), (
            f"{where}: shown is {lines[at]!r}, the document says {wanted!r}"
        )
        at, may_skip = at + 1, False
    assert may_skip or at == len(lines), f"{where}: {lines[at]!r} is shown as well"


def run(
    environment: Environment, preparation: str, command: str, *, directory: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Run it in the sandbox, at a terminal whose user answers yes. Output and errors come together,
    as on a screen.
    """
    environ = environment.variables()
    if preparation:
        prepared = subprocess.run(
            ["sh", "-euc", preparation],
            cwd=directory,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert prepared.returncode == 0, f"{preparation}\n{prepared.stdout}{prepared.stderr}"
    keyboard, terminal = os.openpty()
    try:
        os.write(keyboard, b"y\n")
        ended = subprocess.run(
            ["sh", "-c", command],
            cwd=directory,
            env=environ,
            stdin=terminal,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        os.close(keyboard)
        os.close(terminal)
    # The terminal shows what the user types; the stream does not have it.
    ended.stdout = ended.stdout.replace("[y/N] ", "[y/N] y\n")
    return ended


def on_a_node(environment: Environment, text: str) -> str:
    """A line for real hosts, with the sandbox's names: its registries have other ports."""
    loaded = config.load(environment.config)
    names = {
        "registry.viktorbarzin.me:5050": loaded.image.repository.partition("/")[0],
        "forgejo.viktorbarzin.me": loaded.image.also_known_as[1].partition("/")[0],
    }
    for real, ours in {**names, "/var/breakglass": loaded.nodes.directory}.items():
        text = text.replace(real, ours)
    return text
