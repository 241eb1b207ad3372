"""Any text arrives as it is: through every shell that may be a login shell, alone, in a pipeline,
through sudo, and as a line that a person types.
"""

import io
import json
import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from breakglass.errors import Usage
from breakglass.grammar import check_destination, check_path
from breakglass.marks import ANNOTATION, Mark
from breakglass.plan import Argv, Copy, Host, PatchNode, Run, command_line
from breakglass.ssh.wire import wire
from tests.unit.strategies import HOSTILE, examples

SHELLS = {
    "sh": ("sh",),
    "dash": ("dash",),
    "bash": ("bash",),
    "busybox": ("busybox", "sh"),
    "fish": ("fish",),
    "tcsh": ("tcsh",),
    "zsh": ("zsh",),
    "mksh": ("mksh",),
}
SPECIAL = some.text(
    alphabet="'\"\\$`!#&*?[]{}()<>|;~^=%@:,.-+_/ \t\n\r\x1b\x7f\x01aZ0éß€𝄞", max_size=12
)
TEXTS = (
    some.sampled_from([text for text in HOSTILE if "\0" not in text and text.isascii()])
    | SPECIAL
    | some.text(some.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
)
MANY = some.lists(TEXTS, min_size=1, max_size=60).map(tuple)
ECHO = ("sh", "-c", 'printf "%s\\0" "$@"', "observe")
"""How the scripts of observe/ get their arguments."""


def zipapp_that_prints() -> bytes:
    """In place of ours: prints the arguments of a script."""
    main = (
        "import os, sys\n"
        "def main(argv, lifeline):\n"
        "    sys.stdout.buffer.write(b''.join(os.fsencode(text) + b'\\0' for text in argv[1:]))\n"
    )
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for directory in ("breakglass", "breakglass/remote"):
            archive.writestr(f"{directory}/__init__.py", "")
        archive.writestr("breakglass/remote/__main__.py", main)
    return packed.getvalue()


PRINTS = zipapp_that_prints()


class Shell:
    """A shell that stands for the login shell of another host, with stand-ins for sudo, ssh and
    kubectl.
    """

    def __init__(self, command: tuple[str, ...], directory: Path) -> None:
        self._command, self._directory = command, directory
        self._write("sudo", 'test "$1" = -n && shift; exec "$@"')
        # As ssh does: the words of the command, joined by spaces, are one line for the login shell.
        self._write("ssh", f'test "$1" = -p && shift 2; shift; exec {" ".join(command)} -c "$*"')
        self._write("kubectl", 'printf "%s\\0" "$@"')
        self._write("show", 'printf "%s\\0" "$@"')

    def run(self, line: str, stdin: bytes = b"") -> list[str]:
        """The arguments that arrived, each ended by a NUL."""
        environ = {
            **os.environ,
            "HOME": str(self._directory),
            "PATH": f"{self._directory}:{os.environ['PATH']}",
        }
        ended = subprocess.run(
            [*self._command, "-c", line],
            input=stdin,
            env=environ,
            cwd=self._directory,
            capture_output=True,
            timeout=20,
            check=False,
        )
        assert (ended.returncode, ended.stderr) == (0, b""), (line, ended)
        return ended.stdout.decode().split("\0")[:-1]

    def _write(self, name: str, script: str) -> None:
        (self._directory / name).write_text(f"#!/bin/sh\n{script}\n")
        (self._directory / name).chmod(0o755)


@pytest.fixture(scope="module", params=SHELLS)
def shell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    command = SHELLS[request.param]
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {command[0]} on this machine")
    return Shell(command, tmp_path_factory.mktemp("bin"))


@examples(10)
@given(texts=MANY, sudo=some.booleans())
def test_any_text_arrives_as_an_argument_of_a_single_command(
    shell: Shell, texts: Argv, sudo: bool
) -> None:
    assert shell.run(command_line((("printf", "%s\\0", *texts),), sudo=sudo)) == list(texts)


@examples(6)
@given(texts=MANY, others=MANY, sudo=some.booleans())
def test_any_text_arrives_in_any_part_of_a_pipeline(
    shell: Shell, texts: Argv, others: Argv, sudo: bool
) -> None:
    if shutil.which("bash") is None:
        pytest.skip("no bash on this machine")
    both = (ECHO[0], ECHO[1], "cat; " + ECHO[2], *ECHO[3:])
    assert shell.run(command_line(((*ECHO, *texts), ("cat",), (*both, *others)), sudo=sudo)) == [
        *texts,
        *others,
    ]


@examples(5)
@given(texts=MANY, sudo=some.booleans())
def test_any_text_arrives_as_an_argument_of_a_script_that_reads_a_host(
    shell: Shell, texts: Argv, sudo: bool
) -> None:
    assert shell.run(command_line(((*ECHO, *texts),), sudo=sudo)) == list(texts)


@examples(2)
@given(texts=MANY, sudo=some.booleans(), piped=some.booleans())
def test_any_text_arrives_as_an_argument_of_a_script_of_ours(
    shell: Shell, texts: Argv, sudo: bool, piped: bool
) -> None:
    ours: Argv = ("python3", "breakglass-remote.pyz", "pulled", *texts)
    sent = wire((("printf", "%s\\0", *texts), ours) if piped else (ours,), sudo=sudo)
    # What is sent is the loader and the arguments; the scripts themselves come on standard input,
    # so here they are other ones.
    assert shell.run(sent.line, b"%d\n%s" % (len(PRINTS), PRINTS)) == list(texts)


@examples(40)
@given(texts=MANY, sudo=some.booleans())
def test_what_is_shown_is_what_is_sent(texts: Argv, sudo: bool) -> None:
    host = Host("vm", "root@10.0.20.10", sudo=sudo)
    for pipeline in (((*ECHO, *texts),), (texts, ("cat",))):
        assert str(Run(host, pipeline)) == f"vm$ {wire(pipeline, sudo=sudo).line}"


@examples(4)
@given(texts=MANY, others=MANY, sudo=some.booleans())
def test_a_copy_that_is_shown_can_be_typed(
    shell: Shell, texts: Argv, others: Argv, sudo: bool
) -> None:
    both = (ECHO[0], ECHO[1], "cat; " + ECHO[2], *ECHO[3:])
    copy = Copy(
        Run(Host("vm", "root@10.0.20.10:2222", sudo=sudo), ((*ECHO, *texts),)),
        Run(Host("node", "10.0.20.101"), ((*both, *others),)),
    )
    assert shell.run(str(copy).removeprefix("operator$ ")) == [*texts, *others]


@examples(4)
@given(reasons=some.lists(TEXTS, min_size=1, max_size=20))
def test_a_patch_that_is_shown_can_be_typed(shell: Shell, reasons: list[str]) -> None:
    steps = [
        PatchNode("k8s-node1", Mark(False, None), Mark(True, reason), "1") for reason in reasons
    ]
    arrived = shell.run("; ".join(str(step).removeprefix("operator$ ") for step in steps))
    bodies = [
        json.loads(text.removeprefix("--patch=")) for text in arrived if text.startswith("--patch=")
    ]
    assert [body["metadata"]["annotations"][ANNOTATION] for body in bodies] == reasons


def accepted(check: Callable[[str], str]) -> Callable[[str], bool]:
    def is_accepted(text: str) -> bool:
        try:
            check(text)
        except Usage:
            return False
        return True

    return is_accepted


PATHS = (
    some.lists(some.text("abZ0 .-_+,:=@é", min_size=1, max_size=8), min_size=1, max_size=3)
    .map(lambda parts: "/" + "/".join(parts))
    .filter(accepted(check_path))
)
HOSTS = some.sampled_from(
    ["root@10.0.20.10", "vm:2222", "wizard@[::1]:22", "fe80::1", "nas"]
).filter(accepted(check_destination))


@examples(10)
@given(paths=some.lists(PATHS, min_size=1, max_size=20), ssh=HOSTS, sudo=some.booleans())
def test_a_line_to_type_on_a_host_runs_with_every_path_that_a_configuration_may_have(
    shell: Shell, paths: list[str], ssh: str, sudo: bool
) -> None:
    assert shell.run(Host("vm", ssh, sudo=sudo).by_hand("show", *paths)) == paths
