"""The start of the script `responder`."""

from __future__ import annotations

import contextlib
import json

from breakglass.remote.faults import FAILED, Fault, fail
from breakglass.remote.responder.arguments import parse
from breakglass.remote.responder.commands import serve, start, status, stop

COMMANDS = {"start": start, "serve": serve, "stop": stop, "status": status}


def main(argv: list[str], _lifeline: int | None) -> int:
    """Returns the exit code."""
    try:
        arguments = parse(argv)
        result = COMMANDS[arguments.command](arguments)
    except Fault as fault:
        return fail(fault.status, fault.sentence)
    except OSError as error:
        return fail(FAILED, f"{error.filename or 'reading or writing'}: {error.strerror}")
    # The caller may be gone; what was done is done.
    with contextlib.suppress(OSError):
        print(json.dumps(result, separators=(",", ":")), flush=True)
    return 0
