"""The journal when a run is killed in the middle of a step, and when the operator's disk will not
have it.
"""

import json
import signal
from typing import Any

import pytest

from ..host import Host
from .arrangements import fetched, published
from .injections import before, disk_of_its_own, read_only, until
from .rows import row
from .trial import Trial

NODE = "k8s-node1"
STATE = "/root/.local/state"
JOURNAL = f"{STATE}/breakglass/journal.jsonl"


def entries(operator: Host) -> list[dict[str, Any]]:
    """Whole lines only."""
    found = [line for line in operator.read(JOURNAL).splitlines() if line.endswith("}")]
    return [json.loads(line) for line in found]


@row(
    "import",
    "breakglass killed in the middle of a step",
    "the journal ends with that step, begun; the next run finishes, and is written down behind it",
    exit_code=0,
)
def test_the_journal_of_a_killed_run_ends_with_what_it_was_at(trial: Trial) -> None:
    environment, operator = trial.environment, trial.environment.operator
    fetched(environment, NODE)
    operator.path(JOURNAL).unlink(missing_ok=True)
    trial.arranged()
    with before(environment.nodes[NODE], "ctr", '*"images import"*') as threshold:
        child = trial.start("import", NODE)
        until(threshold.reached, child=child, what="no import")
        child.send_signal(signal.SIGKILL)
        trial.killed(child)
        last = entries(operator)[-1]
    assert last["result"] == "begun"
    assert "images import" in last["line"]
    assert operator.run("stat", "-c", "%a %U", JOURNAL).stdout == "600 root\n"
    trial.recovers(NODE)
    after = [entry for entry in entries(operator) if entry["run"] != last["run"]]
    assert (after[0]["result"], after[-1]["result"], after[-1]["exit_code"]) == (
        "begun",
        "ended",
        0,
    )


@pytest.mark.parametrize("how", ["read-only", "full half-way"])
@row(
    "any",
    "the operator's state directory is read-only, or its disk full half-way",
    (
        "one warning with the file and the reason; the run continues, with the same exit code as "
        "otherwise"
    ),
    exit_code=0,
)
def test_a_journal_that_cannot_be_written_stops_nothing(trial: Trial, how: str) -> None:
    environment, operator = trial.environment, trial.environment.operator
    published(environment)
    trial.arranged()
    if how == "read-only":
        with read_only(operator, STATE):
            ran = trial.run("fetch", NODE)
        reason = "Read-only file system"
    else:
        with disk_of_its_own(operator, STATE, kilobytes=4):
            ran = trial.run("fetch", NODE)
            assert entries(operator)[0]["result"] == "begun"
        reason = "No space left on device"
    assert ran.reported["changed"] is True
    warnings = [line for line in ran.stderr.splitlines() if "journal" in line]
    assert warnings == [
        (
            f"warning: the journal {JOURNAL} cannot be written: {reason}; this run goes on, but "
            f"what it changes is not recorded there"
        )
    ]
    trial.recovers(NODE)
