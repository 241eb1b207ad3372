"""The program for hosts, `breakglass-remote.pyz SCRIPT ...`: the scripts are listed below."""

from __future__ import annotations

import importlib
import sys

from breakglass.remote.arguments import PROGRAM
from breakglass.remote.faults import USAGE

SCRIPTS = {
    "archive": ("archive.main", "write, receive, verify and publish image tarballs"),
    "taken": ("taken.main", "record what an import takes from a node, and restore it"),
    "responder": (
        "responder.main",
        "serve a few images on the node's loopback",
    ),
    "content": ("content", "whether containerd's content store has an image whole"),
    "registries": ("registries.main", "ask registries what they would serve to this host"),
    "pulled": ("pulled", "what kubelet remembers of images that it has pulled itself"),
    "marked": ("marked", "wait until containerd's CRI plugin has marked names"),
    "lock": ("lock", "hold a lock file"),
}
"""The script's name -> its module, and what it is for."""


def main(argv: list[str], lifeline: int | None = None) -> int:
    """Run one script; returns its exit code.

    The lifeline is the descriptor whose other end our caller holds open.
    """
    script = argv[0] if argv else ""
    if script not in SCRIPTS:
        print(usage(), file=sys.stdout if script in ("-h", "--help") else sys.stderr)
        return 0 if script in ("-h", "--help") else USAGE
    # Only the script that is asked for is loaded: compiling all of them would take longer.
    run = importlib.import_module(f"breakglass.remote.{SCRIPTS[script][0]}").main
    status: int = run(argv[1:], lifeline)
    return status


def usage() -> str:
    lines = [f"  {script:<12}{purpose}" for script, (_, purpose) in SCRIPTS.items()]
    return "\n".join((f"usage: python3 {PROGRAM} SCRIPT ...", "", *lines))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
