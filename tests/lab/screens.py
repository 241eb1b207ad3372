"""python -m tests.lab.screens: takes the screens of docs/screens.md from real runs.

A block of that page is such a screen if `<!-- screen NAME -->` stands in the line before it.
"""

import re
import sys
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

from .answering import TAG
from .environment import Environment, in_use
from .faults.arrangements import published
from .faults.injections import unplugged
from .operator_host import program
from .roles import NAS_DIRECTORY
from .runs import stop_registries
from .test_recover import ADMIN, REPAIR, job

PAGE = Path(__file__).resolve().parents[2] / "docs/screens.md"
COLUMNS = 110
"""A longer line is cut there, with `...`."""
LISTED = re.compile(r" *\d+(\. |/\d+ done )| {5}\S+\$ |undoing: ")
"""A line of a plan, or one that says that it is done: of many in a row the first two and the last
are shown.
"""


def main() -> int:
    environment = Environment()
    with in_use(wait=True):
        borrowed = environment.standing
        environment.reset() if borrowed else environment.up()
        try:
            taken = {name: take(environment) for name, take in SCREENS.items()}
        finally:
            environment.reset() if borrowed else environment.down()
    text = PAGE.read_text("utf-8")
    for name, screen in taken.items():
        block = re.compile(
            rf"(<!-- screen {name} -->\n```text\n).*?(^```$)", re.DOTALL | re.MULTILINE
        )
        if not block.search(text):
            print(f"{PAGE.name} has no block for the screen {name}:\n{screen}", file=sys.stderr)
            return 1
        text = block.sub(lambda match, screen=screen: f"{match[1]}{screen}{match[2]}", text)  # type: ignore[misc]
    PAGE.write_text(text, "utf-8")
    return 0


def shown(environment: Environment, *argv: str) -> str:
    """What a person sees who types this: both streams, in the order in which they came."""
    line = " ".join(("breakglass", *argv))
    quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in argv)
    ended = environment.operator.run(
        "sh",
        "-c",
        f'{program()} {quoted} 2>&1; echo "exit code $?"',
        env={"BREAKGLASS_CONFIG": "/root/breakglass.yaml", "COLUMNS": "80", **ADMIN},
        cwd="/root",
    )
    return f"$ {line}\n" + "".join(f"{short(each)}\n" for each in elided(ended.stdout.splitlines()))


def elided(lines: list[str]) -> list[str]:
    kept: list[str] = []
    for is_listed, group in groupby(lines, key=lambda line: bool(LISTED.match(line))):
        run = list(group)
        kept += [*run[:2], "     ...", run[-1]] if is_listed and len(run) > 4 else run
    return kept


def short(line: str) -> str:
    return line if len(line) <= COLUMNS else line[: COLUMNS - 3] + "..."


def outage(environment: Environment, *argv: str) -> str:
    """Both registries off, the VM's plug pulled, one node off, one cordoned by somebody else."""
    stop_registries(environment)
    with unplugged(environment.vm, environment.nodes["k8s-node10"]):
        return shown(environment, *argv)


def take_check(environment: Environment) -> str:
    published(environment)
    environment.mirror()
    return outage(environment, "check")


def take_recover(environment: Environment) -> str:
    environment.cluster.cordon("k8s-node3")
    environment.operator.write("/root/repair.json", job("Always"))
    environment.operator.write("/root/repair.sh", f"#!/bin/sh{REPAIR}", mode=0o755)
    screen = outage(environment, "recover", "--yes", "--", "./repair.sh")
    environment.cluster.kubectl("delete", "job", "repair", "--wait=true")
    environment.cluster.delete_pods()
    return screen


def take_status(environment: Environment) -> str:
    stop_registries(environment)
    assert environment.operator.breakglass("recover", "k8s-node1", "--yes").returncode == 0
    return outage(environment, "status")


def take_drill(environment: Environment) -> str:
    environment.operator.breakglass("restore", "--yes")
    for registry in environment.registries:
        registry.host.start("registry")
    screen = shown(environment, "drill", "k8s-node1")
    tarball = environment.nas.path(f"{NAS_DIRECTORY}/infra-ci-{TAG}.tar.gz")
    content = bytearray(tarball.read_bytes())
    content[len(content) // 2] ^= 1
    tarball.write_bytes(content)
    typed, *lines = shown(environment, "drill", "k8s-node1").splitlines(keepends=True)
    failed = next(number for number, line in enumerate(lines) if "FAILED" in line)
    return f"{screen}\nWith one bit flipped on the NAS:\n\n{typed}...\n{''.join(lines[failed:])}"


SCREENS: dict[str, Callable[[Environment], str]] = {
    "check": take_check,
    "recover": take_recover,
    "status": take_status,
    "drill": take_drill,
}


if __name__ == "__main__":
    sys.exit(main())
