"""The start of the script `taken`."""

from __future__ import annotations

from typing import Any

from breakglass.remote.faults import run_command
from breakglass.remote.taken.arguments import parse
from breakglass.remote.taken.changes import begin, end, insert, put_back
from breakglass.remote.taken.lines import read_lines
from breakglass.remote.taken.read import read

COMMANDS = {"read": read, "begin": begin, "insert": insert, "put_back": put_back, "end": end}


def main(argv: list[str], lifeline: int | None) -> int:
    """Returns the exit code."""

    def command() -> Any:
        arguments = parse(argv)
        if arguments.command == "insert":
            arguments.lines = read_lines(lifeline)
        return COMMANDS[arguments.command](arguments)

    return run_command(command)
