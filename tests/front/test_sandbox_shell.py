"""`breakglass sandbox` without a command: a shell for a person, who sees where they are and cannot
leave by accident.
"""

import os
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

BREAKGLASS = str(Path(sys.executable).with_name("breakglass"))
PROMPT = "sandbox$ "
IGNORING = """
import os, signal, sys
for number in (signal.SIGINT, signal.SIGCHLD):
    signal.signal(number, signal.SIG_IGN)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Typist:
    """A person at a terminal of 80 columns; `seen` is what it has shown so far."""

    def __init__(self, environ: dict[str, str]) -> None:
        self._keyboard, theirs = os.openpty()
        self.seen, self._read = "", 0
        self.process = subprocess.Popen(
            ["setsid", "--ctty", BREAKGLASS, "sandbox"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environ,
        )
        os.close(theirs)

    def type(self, line: str) -> None:
        os.write(self._keyboard, line.encode() + b"\n")

    def until(self, text: str, *, timeout_seconds: float = 20.0) -> str:
        """Read until the text comes; returns what came before it, from where the last one ended."""
        deadline = time.monotonic() + timeout_seconds
        while (found := self.seen.find(text, self._read)) < 0:
            assert select.select([self._keyboard], [], [], max(0, deadline - time.monotonic()))[
                0
            ], f"{text!r} did not come:\n{self.seen}"
            self.seen += os.read(self._keyboard, 65536).decode().replace("\r\n", "\n")
        before, self._read = self.seen[self._read : found], found + len(text)
        return before

    def leave(self) -> int:
        self.type("exit")
        status = self.process.wait(20)
        os.close(self._keyboard)
        return status


@pytest.mark.skipif(shutil.which("bash") is None, reason="the shell is bash where there is one")
@pytest.mark.slow
def test_the_shell_says_where_one_is_how_to_leave_and_takes_nothing_from_ones_own_start_up_files(
    tmp_path: Path,
) -> None:
    for name in (".bashrc", ".bash_profile", ".profile"):
        (tmp_path / name).write_text(
            "export KUBECONFIG=/elsewhere\nPS1='mine> '\n", encoding="ascii"
        )
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith("BREAKGLASS")
    } | {
        "HOME": str(tmp_path),
        "TERM": "dumb",
        "ENV": str(tmp_path / ".profile"),
        "SHELL": "/bin/sh",
    }
    person = Typist(environ)
    banner = person.until(PROMPT)
    for word in ("simulated", "exit", "breakglass check", "kubectl", "`sandbox`"):
        assert word in banner
    assert max(len(line) for line in banner.splitlines()) <= 80
    person.type('echo "[$KUBECONFIG|$BREAKGLASS_CONFIG]"')
    assert re.search(
        r"\n\[/\S+/kubeconfig\|/\S+/breakglass.yaml\]\n", found := person.until(PROMPT)
    ), found
    person.type("breakglass check; echo code $?")
    assert "forgejo: serves" in person.until("\ncode 10\n")
    person.until(PROMPT)
    person.type("complete -p breakglass && sandbox stop nothing")
    answer = person.until(PROMPT)
    assert "breakglass_completion" in answer
    assert "no 'nothing'; there are registry-vm" in answer
    # bash reads the machine's own bashrc before ours, whatever it is reported.
    person.type(
        "export KUBECONFIG=/elsewhere PATH=/usr/bin:/bin; . $(dirname "
        "$BREAKGLASS_CONFIG)/bashrc; breakglass sandbox; echo $KUBECONFIG"
    )
    answer = person.until("/kubeconfig\n" + PROMPT)
    assert "this shell is in a sandbox already" in answer
    person.type("false")
    person.until(PROMPT)
    assert person.leave() == 1, "the shell's own status, that of its last command"
    assert not (tmp_path / ".bash_history").exists()


@pytest.mark.slow
def test_a_signal_that_is_to_be_ignored_stays_so_for_the_command_and_its_status_is_reported() -> (
    None
):
    """SIGINT as in the background job of a script; where SIGCHLD is ignored, statuses get lost."""
    command = ("sh", "-c", "kill -INT $$; exit 7")
    argv = [sys.executable, "-c", IGNORING, BREAKGLASS, "sandbox", "--", *command]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 7, ended.stderr
