"""docs/faults.md, made from the tests: `python -m tests.lab.faults.document` prints it, `make docs`
writes it.
"""

import contextlib
import io
import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from .rows import NOT_HERE, Row

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
COMMANDS = (
    "check",
    "status",
    "snapshot",
    "fetch",
    "import",
    "pin",
    "restore",
    "recover",
    "drill",
    "any",
)
WORDS = {
    0: "ok",
    2: "usage",
    3: "refused",
    4: "failed",
    5: "unreachable",
    6: "integrity",
    7: "busy",
    10: "not needed",
    11: "partly",
    -9: "killed",
}

HEAD = """# Faults

Each row is a fault that a test injects on real docker, containerd, sshd, etcd and API server: the fault, the outcome that it must have, the exit code, and the test. This page is made from the tests by `make docs`; do not edit it.

After each fault the invariants below are checked from outside, by `tests/lab/faults/invariants.py`. Then the fault is removed, and **the same command runs again and must reach its goal**.
`make lab` runs nearly every row; `make thorough` runs all of them, with every variant and every single kill point; `make soak` runs 200 commands and faults.

| | invariant |
| --- | --- |
| I1 | If there was a verified tarball before, there is one after, and `latest` points to a file whose sha256 equals its sidecar |
| I2 | No file of ours with a final name is unverified. Partials are hidden, and removed by the next run |
| I3 | On a node each name is the recorded image, or the image before, or does not exist; never an unverified image |
| I4 | Every node of the cluster is as it was before the pin, or carries our annotation; nodes cordoned by others keep their spec; the target is never cordoned by us |
| I5 | Exit 0 means that the goal was read back and reached |
| I6 | Every run ends within its deadlines |
| I7 | No secret in output, arguments, files or tracebacks |
| I8 | After the next run no process and no lock of ours remains on any host |

| command | fault | outcome | exit code | tested by |
| --- | --- | --- | --- | --- |
"""  # noqa: E501

FOOT = """
## Not injected here

| command | fault | why |
| --- | --- | --- |
"""


class Collector:
    """Takes the rows out of the tests that pytest finds."""

    def __init__(self) -> None:
        self.found: dict[tuple[Row, str], None] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            test = f"{item.path.relative_to(ROOT)}::{item.name.partition('[')[0]}"
            self.found |= {(marker.args[0], test): None for marker in item.iter_markers("fault")}


def document() -> str:
    """The whole page."""
    rows = sorted(collected(), key=lambda pair: place(pair[0].command))
    lines = [
        cells(
            row.command, row.fault, row.outcome, ", ".join(map(code, row.exit_codes)), f"`{test}`"
        )
        for row, test in rows
    ]
    missing = [
        cells(one.command, one.fault, one.why)
        for one in sorted(NOT_HERE, key=lambda one: place(one.command))
    ]
    return HEAD + "".join(lines) + FOOT + "".join(missing)


def collected() -> Iterable[tuple[Row, str]]:
    collector = Collector()
    os.chdir(ROOT)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        status = pytest.main(
            ["--collect-only", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "tests/lab"],
            plugins=[collector],
        )
    assert status == 0, said.getvalue()
    return collector.found


def place(command: str) -> tuple[int, str]:
    return COMMANDS.index(command.partition(",")[0]), command


def code(number: int) -> str:
    return (
        f"128+{number - 128} signal"
        if number > 128
        else WORDS[number]
        if number < 0
        else f"{number} {WORDS[number]}"
    )


def cells(*texts: str) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |\n"


if __name__ == "__main__":
    print(document(), end="")
