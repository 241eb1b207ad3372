"""What travels to a host and back, without the library that carries it: the command line, our
scripts, the heartbeat, progress on stderr.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from breakglass.errors import Refused
from breakglass.plan import (
    OLDEST_PYTHON,
    PIPE_SHELL,
    PROGRAM,
    Argv,
    command_line,
    command_words,
    is_script,
)
from breakglass.quoting import join
from breakglass.remote.pack import pack
from breakglass.text import printable

BEAT_SECONDS = 15.0
"""How often a script hears from us; one that hears nothing for 60 seconds ends itself."""
KEPT_STDERR_BYTES = 64 * 1024
_PROGRESS = re.compile(rb"@progress (\d{1,18})\s*")
_TOO_OLD = re.compile(r"^python3 is (\d{1,2}\.\d{1,3}), too old$", re.MULTILINE)

# An older Python can not even compile the scripts: so it is asked here, in words that every Python
# 3 understands. Then read byte by byte up to the newline, then exactly the zipapp: whatever follows
# on the stream is the script's own. The zipapp goes into memory, or where Python was built without
# memfd_create into a file that never has a name; both end with the process.
_RECEIVE = """\
import os, sys
if sys.version_info < OLDEST:
    sys.stderr.write("python3 is %d.%d, too old\\n" % sys.version_info[:2])
    sys.exit(3)
def read(size):
    data = b""
    while len(data) < size:
        part = os.read(FD, size - len(data))
        if not part:
            sys.exit("the scripts did not arrive whole")
        data += part
    return data
size = b""
while size[-1:] != b"\\n":
    size += read(1)
zipapp = read(int(size))
if hasattr(os, "memfd_create"):
    file = os.memfd_create("PROGRAM")
else:
    file = os.open("/tmp", os.O_TMPFILE | os.O_RDWR, 0o600)
with open(file, "wb", closefd=False) as out:
    out.write(zipapp)
sys.path.insert(0, "/proc/self/fd/%d" % file)
from breakglass.remote.__main__ import main
sys.exit(main(sys.argv[2:], FD))
"""


@dataclass(frozen=True)
class Wire:
    """One command as it is sent."""

    words: Argv
    """What the login shell is to run."""
    opening: bytes = b""
    """What goes first on its standard input."""
    lifeline: bool = False
    """Whether its standard input stays open and carries the heartbeat."""

    @property
    def line(self) -> str:
        return join(self.words)


def wire(pipeline: tuple[Argv, ...], *, sudo: bool, takes_data: bool = False) -> Wire:
    """The command line of a plan; `python3 breakglass-remote.pyz` in it becomes a loader that takes
    the zipapp from standard input.

    In a pipeline standard input is the pipe's, so the zipapp comes on descriptor 3, which sudo
    would close: hence sudo is outside of bash.
    """
    scripts = [index for index, argv in enumerate(pipeline) if is_script(argv)]
    if not scripts:
        return Wire(command_words(pipeline, sudo=sudo))
    if len(scripts) > 1 or (takes_data and scripts != [0]):
        raise ValueError(
            f"one standard input can not carry this: {command_line(pipeline, sudo=sudo)}"
        )
    script = pipeline[scripts[0]]
    opening = b"%d\n%s" % (len(pack()), pack())
    descriptor = 0 if len(pipeline) == 1 or takes_data else 3
    loaded = list(pipeline)
    # Isolated, and without site: nothing that lies about there is imported, and it starts in half
    # the time.
    loaded[scripts[0]] = ("python3", "-IS", "-c", _loader(descriptor), *script[1:])
    if descriptor == 0:
        return Wire(command_words(tuple(loaded), sudo=sudo), opening, lifeline=not takes_data)
    first, *others = (join(argv) for argv in loaded)
    text = "exec 3<&0; " + " | ".join((first + " </dev/null", *others))
    words = command_words(((*PIPE_SHELL, text),), sudo=sudo)
    return Wire(words, opening, lifeline=True)


def sudo_refusal(
    pipeline: tuple[Argv, ...], exit_status: int | None, stdout: bytes, stderr: bytes
) -> str | None:
    """The line in which sudo says no. `sudo: COMMAND: command not found` and a host name that does
    not resolve are no refusal.
    """
    if exit_status != 1 or stdout:
        return None
    command = pipeline[0][0] if len(pipeline) == 1 else "bash"
    for line in printable(stderr).splitlines():
        if line.startswith("Sorry, user ") or (
            line.startswith(("sudo: ", "sudo-rs: "))
            and not line.startswith(f"sudo: {command}: ")
            and "unable to resolve host" not in line
        ):
            return line
    return None


def python_too_old(exit_status: int | None, stderr: bytes) -> str | None:
    """The version, `3.6` say, of a host's python3 with which the loader refused to go on."""
    matched = _TOO_OLD.search(printable(stderr)) if exit_status == Refused.exit_code else None
    return matched[1] if matched else None


class Stderr:
    """Takes `@progress N` lines out of a stream, and keeps the end of the rest."""

    def __init__(self, progress: Callable[[int], None]) -> None:
        self._progress = progress
        self._kept = bytearray()
        self._line = b""

    def feed(self, data: bytes) -> None:
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            matched = _PROGRESS.fullmatch(line)
            if matched:
                self._progress(int(matched[1]))
            else:
                self._keep(line + b"\n")
        if len(self._line) > 1024:
            self._keep(self._line)
            self._line = b""

    def text(self) -> bytes:
        return bytes(self._kept + self._line)[-KEPT_STDERR_BYTES:]

    def _keep(self, data: bytes) -> None:
        self._kept += data
        if len(self._kept) > 2 * KEPT_STDERR_BYTES:
            del self._kept[:-KEPT_STDERR_BYTES]


def _loader(descriptor: int) -> str:
    """The loader in one line: not every login shell takes a newline inside quotes."""
    text = _RECEIVE.replace("FD", str(descriptor)).replace("OLDEST", str(OLDEST_PYTHON))
    text = text.replace("PROGRAM", PROGRAM)
    return f"exec({json.dumps(text)})"
