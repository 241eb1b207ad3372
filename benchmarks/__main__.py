"""python -m benchmarks [--rounds N] [--only NAME] [--markdown]: the table; exit code 1 where a gate
is missed.
"""

import argparse
import os
import sys
from collections.abc import Callable

from tests.lab.environment import Environment, in_use

from benchmarks import measure
from benchmarks.lab_runs import say
from benchmarks.table import Row, markdown, text


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Speed and size of breakglass, measured on the lab beside what it replaces.",
    )
    parser.add_argument(
        "--rounds", type=int, default=3, help="of each measurement; the median counts"
    )
    parser.add_argument("--nodes", type=int, default=1000, help="extra Node objects for the pin")
    parser.add_argument(
        "--only",
        action="append",
        choices=("start", "snapshot", "fetch", "import", "pin"),
        help="some of the measurements",
    )
    parser.add_argument(
        "--markdown", action="store_true", help="print the table for docs/measured.md"
    )
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        print("the lab needs root", file=sys.stderr)
        return 2
    environment = Environment()
    measurements: dict[str, Callable[[], list[Row]]] = {
        "start": lambda: measure.start_up(3 * arguments.rounds),
        "snapshot": lambda: measure.saving(environment, arguments.rounds),
        "fetch": lambda: measure.fetching(environment, arguments.rounds),
        "import": lambda: measure.importing(environment, arguments.rounds),
        "pin": lambda: measure.pinning(
            environment, arguments.rounds, nodes=arguments.nodes, looped=50
        ),
    }
    with in_use(wait=True):
        rows = on_the_lab(
            environment,
            {
                name: take
                for name, take in measurements.items()
                if name in (arguments.only or measurements)
            },
        )
    print(markdown(rows) if arguments.markdown else text(rows))
    return 0 if all(row.passes for row in rows) else 1


def on_the_lab(
    environment: Environment, measurements: dict[str, Callable[[], list[Row]]]
) -> list[Row]:
    """A standing lab is used and left standing, as it was after `up`; otherwise one is raised and
    removed.
    """
    borrowed = environment.standing
    rows: list[Row] = []
    try:
        if borrowed:
            environment.reset()
        else:
            environment.up(say)
        for name, take in measurements.items():
            say(name)
            rows += take()
    finally:
        if borrowed:
            environment.reset()
        else:
            environment.down(say)
    return rows


if __name__ == "__main__":
    sys.exit(main())
