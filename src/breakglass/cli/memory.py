"""What runs on this machine have changed and not undone: read from the journal."""

from pathlib import Path

from breakglass.cli.past_runs import traces
from breakglass.commands.environment import Remembered
from breakglass.plan import Trace

_LIMIT = 5000
"""More names than a cluster has nodes: a journal that somebody else wrote costs no more memory."""


def remembered(path: Path) -> Remembered:
    """A change counts from the moment it is begun, and until its undoing is known to be done."""
    cordoned, hosts = set[str](), set[str]()
    for entry in traces(path):
        known, name = (cordoned, entry.node) if entry.node is not None else (hosts, entry.host)
        if entry.trace == Trace.BEGINS and (name in known or len(known) < _LIMIT):
            known.add(name)
        elif entry.trace == Trace.ENDS and entry.result == "done":
            known.discard(name)
    return Remembered(frozenset(cordoned), frozenset(hosts))
