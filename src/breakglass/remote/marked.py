"""The script `marked`: waits until containerd's CRI plugin has marked names, which is when kubelet
sees them. Changes nothing.

The plugin marks a name a moment after it was made or moved (containerd, UpdateImage).
"""

from __future__ import annotations

import re
import subprocess
import time

from breakglass.remote.arguments import at_divider, parser_for
from breakglass.remote.faults import FAILED, Fault, run_command

MARK = "io.cri-containerd.image=managed"
WAIT_SECONDS = 20.0


def main(argv: list[str], _lifeline: int | None) -> int:
    """Returns the exit code."""
    ours, ctr = at_divider(argv)
    parser = parser_for("marked", "Wait until containerd's CRI plugin has marked these names.")
    parser.add_argument("--name", action="append", required=True)
    parser.epilog = "After `--`: how ctr is called."
    return run_command(lambda: wait(parser.parse_args(ours).name, ctr))


def wait(names: list[str], ctr: list[str]) -> dict[str, list[str]]:
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        unmarked = sorted(set(names) - marked(names, ctr))
        if not unmarked:
            return {"marked": sorted(set(names))}
        if time.monotonic() > deadline:
            more = f" and {len(unmarked) - 2} more" if len(unmarked) > 2 else ""
            raise Fault(
                FAILED,
                (
                    f"kubelet does not see {', '.join(unmarked[:2])}{more}: containerd has it, but "
                    f"its CRI plugin has not marked it ({MARK}) within {WAIT_SECONDS:.0f} seconds"
                ),
            )
        time.sleep(0.2)


def marked(names: list[str], ctr: list[str]) -> set[str]:
    line = [*ctr, "images", "ls", *(f"name=={name}" for name in names)]
    try:
        ended = subprocess.run(
            line, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise Fault(FAILED, f"{ctr[0] if ctr else 'ctr'} does not run here: {error}") from error
    if ended.returncode:
        said = ended.stderr.decode("utf-8", "replace").strip().splitlines()
        raise Fault(FAILED, f"{' '.join(line[: len(ctr) + 2])} failed: {' '.join(said[-1:])}")
    rows = [row.split() for row in ended.stdout.decode("utf-8", "replace").splitlines()]
    return {row[0] for row in rows if MARK in re.split("[, ]", " ".join(row[3:]))}
