"""Commands and faults in a random order: some minutes of it in CI, BREAKGLASS_SOAK=200 of them by
`make soak`. BREAKGLASS_SOAK_SEED repeats a sequence.
"""

import os
import random
import time

from ..environment import Environment
from .rows import row
from .soak import Soak
from .trial import plant_canaries

SECONDS, LEAST = 45, 8
"""How long it goes on where no number is given, and how many commands that are at the least,
however slow the machine.
"""


@row(
    "any",
    "a random sequence of commands and faults, from its seed",
    "after each the invariants hold, at the end the whole runbook works",
    exit_code=(0, 3, 4, 5, 6, 7, 10, 129, 130, 143, -9),
)
def test_whatever_happens_in_whatever_order_nothing_is_lost(fresh: Environment) -> None:
    number = int(os.environ.get("BREAKGLASS_SOAK", "0"))
    seed = int(os.environ.get("BREAKGLASS_SOAK_SEED") or (random.randrange(10**6) if number else 1))
    plant_canaries(fresh)
    print(f"seed {seed}: repeat it with BREAKGLASS_SOAK_SEED={seed}")
    soak = Soak(fresh, seed, print)
    soak.begin()
    began, done = time.monotonic(), 0
    while done < (number or LEAST) or (not number and time.monotonic() - began < SECONDS):
        soak.act()
        done += 1
    soak.end()
    print(
        f"seed {seed}: {done} commands, {soak.faults} faults, exit codes "
        f"{dict(sorted(soak.codes.items()))}"
    )
