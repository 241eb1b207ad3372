"""What COMMAND gets of a terminal's Ctrl-C, and what of a signal sent to us alone."""

import os
import select
import signal
import subprocess
import sys
import time

import pytest

RUNS = (
    "import os, sys; [os.dup2(os.open(sys.argv[2], os.O_RDWR), number) for number in (2, 1, 0) "
    "if sys.argv[2]]; "
)
RUNS += (
    "from breakglass.cli.companion import run; print('ended', run((sys.executable, '-c', "
    "sys.argv[1]), environ=os.environ, stdout=None), flush=True)"
)
COUNTS = """
import signal, sys, time
seen = []
signal.signal(signal.SIGINT, lambda *_: (seen.append(1), print("int", len(seen), flush=True)))
print("ready", flush=True)
deadline = time.monotonic() + 1.5
while time.monotonic() < deadline:
    time.sleep(0.05)
sys.exit(5)
"""


def test_ctrl_c_at_the_terminal_reaches_the_command_once_and_its_status_is_what_counts() -> None:
    terminal, theirs = os.openpty()
    # The first terminal that a new session opens is its own.
    started = subprocess.Popen(
        [sys.executable, "-c", RUNS, COUNTS, os.ttyname(theirs)], start_new_session=True
    )
    output = _until(terminal, b"ready")
    os.write(terminal, b"\x03")
    output += _until(terminal, b"ended")
    started.wait(10)
    for descriptor in (terminal, theirs):
        os.close(descriptor)
    assert b"int 1" in output
    assert b"int 2" not in output
    assert b"Ended(status=5, asked=None)" in output


@pytest.mark.parametrize(
    ("script", "numbers", "ended"),
    [
        (COUNTS, [signal.SIGINT], b"Ended(status=5, asked=None)"),
        (
            "print('ready', flush=True); import time; time.sleep(60)",
            [signal.SIGTERM],
            b"Ended(status=143, asked=15)",
        ),
        (
            (
                "import signal; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); "
                "import time; time.sleep(60)"
            ),
            [signal.SIGTERM, signal.SIGTERM],
            b"Ended(status=137, asked=15)",
        ),
    ],
    ids=[
        "SIGINT is handed on",
        "SIGTERM ends it",
        "a second SIGTERM kills one that ignores the first",
    ],
)
def test_without_a_terminal_signals_are_handed_on(
    script: str, numbers: list[int], ended: bytes
) -> None:
    read, write = os.pipe()
    started = subprocess.Popen(
        [sys.executable, "-c", RUNS, script, ""], start_new_session=True, stdout=write
    )
    os.close(write)
    output = _until(read, b"ready")
    for number in numbers:
        started.send_signal(number)
        time.sleep(0.3)
    output += _until(read, b"ended")
    started.wait(10)
    os.close(read)
    assert ended in output


def _until(descriptor: int, word: bytes) -> bytes:
    """What comes, up to the line with this word."""
    output, deadline = b"", time.monotonic() + 20
    while not (word in output and output.endswith((b"\n", b"\r\n"))):
        assert select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0], output
        output += os.read(descriptor, 4096)
    return output
