"""What is timed on the lab: breakglass with its steps and its memory, and any other command."""

import functools
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab.environment import Environment
from tests.lab.host import Host
from tests.lab.operator_host import program, variables
from tests.lab.reset import empty
from tests.lab.runs import Ran, judge

# A process of its own between us and breakglass: what exec leaves behind counts into a child's
# peak, and this one is small.
WEIGH = """\
import resource, subprocess, sys
status = subprocess.call(sys.argv[1:])
print("@peak", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(status)
"""
NODE_DIRECTORY = "/var/breakglass"
TARBALL_SECONDS = 600


@dataclass(frozen=True)
class Timed:
    """One run of breakglass on the operator's machine."""

    ran: Ran
    seconds: float
    peak_bytes: int

    @property
    def steps(self) -> list[tuple[str, float]]:
        """(line, seconds) of each."""
        return [(step["line"], step["seconds"]) for step in self.ran.reported["steps"]]

    def after(self, part: str) -> float:
        """Seconds of the steps behind the one whose line has this part."""
        at = next(index for index, (line, _) in enumerate(self.steps) if part in line)
        return sum(took for _, took in self.steps[at + 1 :])

    def since(self, part: str) -> float:
        """The same with that step."""
        return self.after(part) + next(took for line, took in self.steps if part in line)


def breakglass(environment: Environment, *argv: str) -> Timed:
    began = time.monotonic()
    ended = environment.operator.run(
        "python3",
        "-c",
        WEIGH,
        program(),
        "--json",
        *argv,
        env=variables(None),
        cwd="/root",
        timeout=TARBALL_SECONDS,
        check=False,
    )
    took = time.monotonic() - began
    peak = next(
        int(line.split()[1])
        for line in reversed(ended.stderr.splitlines())
        if line.startswith("@peak ")
    )
    return Timed(judge(ended, expect=0), took, peak * 1024)


def shell(host: Host, line: str) -> float:
    """Seconds of a line in bash on a host; fails when any part of a pipeline does."""
    began = time.monotonic()
    host.run("bash", "-o", "pipefail", "-c", line, cwd="/root", timeout=TARBALL_SECONDS)
    return time.monotonic() - began


def forget(host: Host, directory: str) -> None:
    """What was saved or fetched there."""
    empty(host.path(directory))


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def rounds_of(count: int, *measures: tuple[str, Callable[[], float]]) -> list[list[float]]:
    """Each in turn, so many times, so that what disturbs the machine disturbs all; one list of
    seconds for each.
    """
    found: list[list[float]] = [[] for _ in measures]
    for number in range(count):
        for (name, measure), times in zip(measures, found, strict=True):
            times.append(measure())
            say(f"  {number + 1}/{count}  {name}: {times[-1]:.2f} s")
    return found


@contextmanager
def extra_nodes(environment: Environment, count: int) -> Iterator[list[str]]:
    """So many Node objects without machines. The controllers that would mark them as lost, over and
    over, stand still meanwhile.
    """
    names = [f"extra-{number:04}" for number in range(count)]
    api = environment.api
    api.stop("kube-controller-manager")
    try:
        environment.cluster.add_nodes(names)
        yield names
    finally:
        environment.cluster.remove_added_nodes()
        api.start("kube-controller-manager")


@functools.cache
def interpreter() -> str:
    """The one that breakglass is run with."""
    return str(Path(program()).with_name("python"))
