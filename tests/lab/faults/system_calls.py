"""System calls of programs on a host, counted, made to fail, or made the last one: strace stands in
front of the programs for as long as the block lasts.
"""

import contextlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from ..host import Host
from ..reset import empty
from .injections import in_front_of

CALLS = "fsync,fdatasync,sync,syncfs,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,exit_group"  # noqa: E501
"""What changes a name or makes a change last; and the end, which is the moment after the last of
these.
"""
LOGS = "/run/lab/strace"
LINE = re.compile(r"^(\w+)\((.*)\) += ", re.MULTILINE)

# Our lock is held by a program of its own, which is left alone. Threads and children are not
# followed: none of them changes a file.
SCRIPT = f"""case "$*" in *"breakglass-remote.pyz lock"*) exec "$real" "$@" ;; *DIRECTORY*) ;; *) exec "$real" "$@" ;; esac
n=$(($(cat {LOGS}/count) + 1)); echo $n >{LOGS}/count
exec strace -qq -o {LOGS}/log.$n -e trace=CALLS $(cat {LOGS}/inject.$n 2>/dev/null) "$real" "$@" """  # noqa: E501


@dataclass(frozen=True)
class Call:
    """The `number`-th call of this name in the `program`-th program that was run."""

    program: int
    name: str
    number: int
    shown: str

    def __str__(self) -> str:
        return f"{self.name} {self.number} of program {self.program}: {self.shown}"


class Traced:
    """What the programs have called, and what is to become of a call of the next run."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def forget(self) -> None:
        """The next program counts as the first; nothing is injected."""
        empty(self.host.path(LOGS))
        self.host.write(f"{LOGS}/count", "0")

    def calls(self) -> list[Call]:
        """Of all programs since `forget`, in order."""
        found = []
        for program in range(1, int(self.host.read(f"{LOGS}/count")) + 1):
            seen: Counter[str] = Counter()
            for name, arguments in LINE.findall(self.host.read(f"{LOGS}/log.{program}")):
                seen[name] += 1
                found.append(Call(program, name, seen[name], arguments))
        return found

    def inject(self, call: Call, what: str) -> None:
        """From now on this call gets `signal=KILL`, which comes before the call is done, or
        `error=EIO`, which comes in place of it.
        """
        self.forget()
        self.host.write(
            f"{LOGS}/inject.{call.program}", f"-e inject={call.name}:{what}:when={call.number}"
        )

    def happened(self, call: Call) -> bool:
        """Whether what was injected has come to pass."""
        log = self.host.path(f"{LOGS}/log.{call.program}")
        return log.exists() and (
            "killed by SIGKILL" in log.read_text() or "(INJECTED)" in log.read_text()
        )


@contextlib.contextmanager
def traced(host: Host, directory: str, *commands: str, calls: str = CALLS) -> Iterator[Traced]:
    """strace in front of these programs, where their arguments name the directory."""
    found = Traced(host)
    host.path(LOGS).mkdir(exist_ok=True)
    found.forget()
    script = SCRIPT.replace("DIRECTORY", directory).replace("CALLS", calls)
    with contextlib.ExitStack() as stack:
        for command in commands:
            stack.enter_context(in_front_of(host, command, script))
        yield found
