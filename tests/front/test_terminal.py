"""Questions, signals, colours and help, as a person meets them."""

import fcntl
import os
import re
import shlex
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from breakglass.cli import exit_codes
from breakglass.sandbox.environment import TAG, VM
from tests.front.blocks import is_inert, is_reported
from tests.front.commands import Ended
from tests.front.documents import check_command_line
from tests.front.world import World

PIN = ("pin", "k8s-node1")
COMMANDS = tuple(exit_codes.BY_COMMAND)


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """What a person types into, and what the command reads from."""
    ours, theirs = os.openpty()
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


def _answer(world: World, terminal: tuple[int, int], answer: bytes, *arguments: str) -> Ended:
    started = world.start(*arguments, terminal=terminal[1])
    started.until("[y/N]")
    os.write(terminal[0], answer)
    return started.end()


@pytest.mark.parametrize(
    "answer",
    [
        b"n\n",
        *(pytest.param(answer, marks=pytest.mark.slow) for answer in (b"\n", b"\x04", b"yeah\n")),
    ],
    ids=["n", "return", "end of input", "something else"],
)
def test_pin_asks_and_does_nothing_without_a_yes(
    world: World, terminal: tuple[int, int], answer: bytes
) -> None:
    world.bring_in("k8s-node1")
    before = world.nodes()
    is_reported(_answer(world, terminal, answer, *PIN), 3, "not confirmed", "Nothing was changed.")
    assert world.nodes() == before


@pytest.mark.parametrize("answer", [b"y\n", pytest.param(b"YES\n", marks=pytest.mark.slow)])
def test_pin_goes_on_with_a_yes(world: World, terminal: tuple[int, int], answer: bytes) -> None:
    world.bring_in("k8s-node1")
    assert _answer(world, terminal, answer, *PIN).status == 0
    assert _answer(world, terminal, answer, "restore", "--json").reported["changed"] is True
    assert world.cordoned() == []


def test_the_question_is_no_part_of_the_answer(world: World, terminal: tuple[int, int]) -> None:
    world.bring_in("k8s-node1")
    ended = _answer(world, terminal, b"n\n", *PIN)
    assert "[y/N]" not in ended.stdout
    assert "[y/N]" in ended.stderr


def test_without_a_terminal_and_without_yes_it_ends_naming_the_flag(world: World) -> None:
    world.bring_in("k8s-node1")
    before = world.nodes()
    is_reported(world.run(*PIN), 2, "no terminal", f"Next:  breakglass {shlex.join(PIN)} --yes\n")
    assert world.nodes() == before


def test_a_refusal_and_nothing_to_do_come_before_a_missing_yes(world: World) -> None:
    is_reported(world.run(*PIN), 3, "does not have the image")
    ended = world.run("restore")
    assert (ended.status, "Nothing to do" in ended.stdout) == (0, True)


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, signal.SIGTERM, signal.SIGHUP],
    ids=lambda number: signal.Signals(number).name,
)
@pytest.mark.slow
def test_a_signal_during_a_step_ends_it_with_the_state_reported(world: World, number: int) -> None:
    with world.held(VM, "docker", "pull*") as gate:
        started = world.start("snapshot", "--tag", TAG, "--via", "docker", "--json")
        gate.reached()
        started.send(number)
        ended = started.end()
    assert ended.status == 128 + number
    assert (ended.reported["exit_code"], ended.reported["error"]["kind"]) == (
        128 + number,
        "signal",
    )
    assert [step["status"] for step in ended.reported["steps"]][:3] == ["done", "failed", "not run"]
    assert all(
        words in ended.stderr
        for words in (f"ended by signal {number}", "  State: ", "  Next:  ", "docker pull")
    )
    assert "Traceback" not in ended.stderr
    assert world.done("snapshot", "--tag", TAG)["changed"] is True


def test_a_second_interrupt_ends_it_at_once(world: World) -> None:
    # The host hangs: in the middle of reading nothing comes any more.
    with world.held(VM, "docker", "pull*") as gate:
        started = world.start("snapshot", "--tag", TAG, "--via", "docker")
        gate.reached()
        started.send(signal.SIGINT)
        time.sleep(0.2)  # two at once would be one
        started.send(signal.SIGTERM)
        ended = started.end()
    assert ended.status == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    "hung_up",
    [
        pytest.param(False, id="its reader went away"),
        pytest.param(True, id="its terminal was closed", marks=pytest.mark.slow),
    ],
)
def test_when_nobody_reads_any_more_a_run_ends_in_order(world: World, hung_up: bool) -> None:
    """`| head` takes nothing from what is being done; a terminal that is closed sends SIGHUP
    besides.
    """
    environ = {**world.environment.variables(), "HOME": str(world.directory)}
    argv = [sys.executable, "-m", "breakglass", "snapshot", "--tag", TAG, "--via", "docker"]
    ours, theirs = os.openpty() if hung_up else os.pipe()
    take_terminal = (lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)) if hung_up else None
    with world.held(VM, "docker", "pull*") as gate:
        process = subprocess.Popen(
            argv,
            env=environ,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=take_terminal,
        )
        os.close(theirs)
        gate.reached()
        os.close(ours)
        gate.open()
        status = process.wait(60)
    assert status == (128 + signal.SIGHUP if hung_up else 0)
    assert world.done("snapshot", "--tag", TAG)["changed"] is hung_up


def _by_shell(world: World, line: str) -> subprocess.CompletedProcess[str]:
    """A line of sh with `breakglass` in it, as a script would have it."""
    environ = {
        **world.environment.variables(),
        "HOME": str(world.directory),
        "PYTHON": sys.executable,
    }
    return subprocess.run(
        ["sh", "-c", f'breakglass() {{ "$PYTHON" -m breakglass "$@"; }}; {line}'],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize(
    "closed", [">&-", "2>&-", pytest.param(">&- 2>&-", marks=pytest.mark.slow)]
)
def test_a_stream_that_was_closed_from_the_start_changes_nothing(world: World, closed: str) -> None:
    ended = _by_shell(world, f"breakglass check {closed}")
    assert (ended.returncode, "Traceback" in ended.stderr) == (10, False)


def test_an_answer_that_could_not_be_written_is_no_success(world: World) -> None:
    ended = _by_shell(world, "breakglass --json check >/dev/full")
    assert ended.returncode == 4
    assert "No space left on device" in ended.stderr


def test_a_signal_that_is_to_be_ignored_stays_ignored(world: World) -> None:
    ended = _by_shell(world, 'trap "" HUP; breakglass check & sleep 0.7; kill -HUP $!; wait $!')
    assert ended.returncode == 10, ended.stderr


def test_without_a_terminal_there_is_no_control_character_in_anything(world: World) -> None:
    for arguments in (("snapshot", "--tag", TAG), ("check",), ("import", "k8s-node9")):
        ended = world.run(*arguments, "--verbose")
        is_inert(ended.stdout + ended.stderr)


@pytest.mark.parametrize(
    ("wanted", "is_coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
    ids=["a terminal", "a terminal and NO_COLOR", "a dumb terminal"],
)
def test_colours_are_for_terminals_that_want_them(
    world: World, wanted: dict[str, str], is_coloured: bool
) -> None:
    status, shown = _on_a_terminal(world, "import", "k8s-node1", **wanted)
    assert status == 3
    assert bool(re.search(r"\x1b\[[0-9;]*3[0-9]", shown)) is is_coloured, shown


def _on_a_terminal(world: World, *arguments: str, **wanted: str) -> tuple[int, str]:
    """The exit status, and what both streams have put on a terminal."""
    ours, theirs = os.openpty()
    environ = {
        **world.environment.variables(),
        "TERM": "xterm-256color",
        "HOME": str(world.directory),
    } | wanted
    with subprocess.Popen(
        [sys.executable, "-m", "breakglass", *arguments],
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # what a terminal says when nobody is left on its other side
            while data := os.read(ours, 4096):
                shown += data
        status = process.wait(10)
    os.close(ours)
    return status, shown.decode()


def test_help_lists_the_groups_the_commands_and_the_exit_codes(world: World) -> None:
    ended = world.run("--help")
    assert (ended.status, ended.stderr) == (0, "")
    positions = [ended.stdout.index(group) for group in ("Look", "Runbook", "Practice")]
    assert positions == sorted(positions)
    assert all(re.search(rf"\b{command}\b", ended.stdout) for command in COMMANDS)
    assert "Exit codes:" in ended.stdout
    is_inert(ended.stdout)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example_that_it_understands_and_its_exit_codes(
    world: World, command: str
) -> None:
    ended = world.run(command, "--help", environ={"COLUMNS": "80"})
    assert (ended.status, ended.stderr) == (0, "")
    assert max(map(len, ended.stdout.splitlines())) <= 80
    assert not re.search(r"<[a-z\[\]]+>", ended.stdout), (
        "a word of Python's in place of NODE, TAG or COMMAND"
    )
    (example,) = re.findall(rf"^ Example: (breakglass {command}\b.*)$", ended.stdout, re.MULTILINE)
    check_command_line(example)
    reported = " ".join(ended.stdout.rpartition("Exit codes: ")[2].split())
    assert (
        tuple(int(code) for code in re.findall(r"(?:^|; )(\d+) ", reported))
        == exit_codes.BY_COMMAND[command]
    )
    assert "128+n" in reported


def test_the_version_is_reported(world: World) -> None:
    assert re.fullmatch(r"breakglass \d+\.\d+\.\d+\n", world.run("--version").stdout)


def _imported(world: World, *arguments: str) -> set[str]:
    """What a fresh process has imported in the end."""
    program = (
        "import sys; from breakglass.cli.main import run; code = run(sys.argv[1:]); print('@', "
        "*sys.modules, file=sys.stderr); sys.exit(code)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**world.environment.variables(), "HOME": str(world.directory)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return set(ended.stderr.rpartition("@ ")[2].split())


@pytest.mark.parametrize(
    ("arguments", "spared"),
    [
        (("--help",), {"kubernetes", "paramiko", "yaml", "breakglass.cli.session"}),
        (("pin", "--help"), {"kubernetes", "paramiko", "yaml"}),
        (("snapshot", "--tag", TAG), {"kubernetes"}),
    ],
    ids=["--help", "pin --help", "snapshot"],
)
def test_what_a_command_does_not_need_it_does_not_import(
    world: World, arguments: tuple[str, ...], spared: set[str]
) -> None:
    assert _imported(world, *arguments) & spared == set()


@pytest.mark.parametrize(
    "run_it",
    [
        [sys.executable, "-m", "breakglass"],
        [str(Path(sys.executable).with_name("breakglass"))],
    ],
    ids=["python -m", "the installed program"],
)
def test_it_can_be_started_both_ways(run_it: list[str]) -> None:
    ended = subprocess.run([*run_it, "--version"], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout.split()[0]) == (0, "breakglass")


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        *(
            pytest.param(number, marks=pytest.mark.slow)
            for number in (signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP)
        ),
    ],
    ids=lambda number: signal.Signals(number).name,
)
def test_a_signal_while_the_program_is_still_being_read_from_a_slow_disk_ends_it_with_a_sentence(
    world: World, tmp_path: Path, number: int
) -> None:
    """An interpreter alone shows the traceback of an import, and exits with another code."""
    slow, reached = tmp_path / "typer.py", tmp_path / "reached"
    slow.write_text(
        f"import pathlib, time\npathlib.Path({str(reached)!r}).touch()\ntime.sleep(30)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-m", "breakglass", "check"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        world.wait_until(reached.exists)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=10)
    assert (process.returncode, stdout, stderr) == (
        128 + number,
        "",
        f"breakglass: signal: ended by signal {number}; nothing was under way\n",
    )


def test_typing_nothing_shows_the_help(world: World) -> None:
    assert "Runbook" in (ended := world.run()).stdout + ended.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("fetch", "--help"),
        ("check",),
        ("fetch", "k8s-node9"),
        ("snapshot", "--tag", TAG, "--dry-run"),
    ],
    ids=" ".join,
)
@pytest.mark.slow
def test_no_colour_but_red_and_nothing_dim_is_used_so_that_a_light_terminal_shows_all_of_it(
    world: World, arguments: tuple[str, ...]
) -> None:
    _, shown = _on_a_terminal(world, *arguments, COLORTERM="truecolor")
    styles = {code for codes in re.findall(r"\x1b\[([0-9;]*)m", shown) for code in codes.split(";")}
    assert styles <= {"", "0", "1", "31"}, styles


@pytest.mark.parametrize(
    "arguments", [("--help",), ("snapshot", "--tag", TAG), ("fetch", "k8s-node9")], ids=" ".join
)
def test_a_log_stays_plain_whatever_the_environment_says_of_colours(
    world: World, arguments: tuple[str, ...]
) -> None:
    ended = world.run(
        *arguments,
        environ={
            "FORCE_COLOR": "1",
            "TTY_COMPATIBLE": "1",
            "GITHUB_ACTIONS": "true",
            "COLORTERM": "truecolor",
            "TERM": "xterm-256color",
        },
    )
    is_inert(ended.stdout)
    is_inert(ended.stderr)


def test_each_line_of_progress_says_which_step_it_is_and_fits_into_a_line(world: World) -> None:
    reported = [
        line
        for line in world.run("snapshot", "--tag", TAG).stdout.splitlines()
        if re.match(r" *\d+/\d+ ", line)
    ]
    assert len(reported) == 6
    assert any("archive pull" in line for line in reported)
    assert max(map(len, reported)) <= 80
