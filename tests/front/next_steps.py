"""What every `Next:` is: commands that can be typed as they stand, and no prose among them."""

import io
import shlex
import subprocess
from contextlib import redirect_stdout
from functools import cache
from itertools import takewhile
from typing import Any

import typer
from typer.exceptions import Exit

from breakglass.cli.app import app
from breakglass.cli.run import Options
from tests.front.commands import Ended

BY_HAND = {
    "ssh": "another host",
    "kubectl": "the cluster",
    "docker": "the login to a registry",
    "curl": "the certificate of a registry",
    "ip": "this machine's network",
    "getent": "this machine's name service",
    "ls": "a file here",
    "file": "a file here",
    "chmod": "a key",
    "ssh-add": "a key",
    "ssh-keygen": "a key",
    "echo": "known_hosts",
    "${EDITOR:-vi}": "the configuration",
    "sandbox": "the shell of the sandbox",
    "exit": "the shell of the sandbox",
}
"""Programs that a `Next:` may name beside breakglass, and what a person looks at or changes by
them. Nothing else may be named: a sentence would fail here.
"""


def next_commands(ended: Ended) -> tuple[str, ...]:
    """The commands of the error, as they were printed; none where there was no error."""
    if ended.stdout.startswith("{"):
        error = ended.reported["error"]
        return tuple(error["next_commands"]) if error else ()
    _, found, block = ended.stderr.rpartition("\n  Next:  ")
    if not found:
        return ()
    first, *more = block.splitlines()
    # With --verbose a traceback follows.
    commands = [line.strip() for line in takewhile(lambda line: line.startswith(" " * 9), more)]
    return tuple(commands or [first])


def check_next(ended: Ended) -> None:
    """An error names at least one command; each is a line that a shell and breakglass understand,
    and no part of it is a place-holder.
    """
    is_error = "breakglass: " in ended.stderr and "\n  Next:  " in ended.stderr
    commands = next_commands(ended)
    assert commands or not is_error, f"no command to type next:\n{ended.stderr}"
    for command in commands:
        assert why_not_typed(command) == "", f"{command}: {why_not_typed(command)}"


@cache
def why_not_typed(command: str) -> str:
    """Why a command cannot be typed as it stands; empty where it can."""
    # The COMMAND of recover may hold secrets: only its first word is printed.
    command = command.removesuffix(" ...")
    if not command.isprintable():
        return "it is not one line"
    shell = subprocess.run(["sh", "-nc", command], capture_output=True, text=True, check=False)
    if shell.returncode:
        return f"the shell does not understand it: {shell.stderr}"
    program, *arguments = shlex.split(command)
    if any(word.isupper() and word.isalpha() and len(word) > 2 for word in arguments):
        return "a place-holder stands in it"
    if program == "breakglass":
        return _why_not_understood(arguments)
    if program in BY_HAND or arguments[:2] == ["-m", "pip"]:
        return ""
    return f"{program} is no program that a Next: may name"


def _why_not_understood(arguments: list[str]) -> str:
    """What breakglass says of its arguments, without doing anything."""
    group: Any = typer.main.get_command(app)
    try:
        with redirect_stdout(io.StringIO()):
            _parse(group, arguments)
    except Exit as ended:
        return "" if ended.exit_code == 0 else f"it ends with {ended.exit_code}"
    except Exception as error:
        return f"it is not understood: {error}"
    return ""


def _parse(group: Any, arguments: list[str]) -> None:
    context = group.make_context("breakglass", list(arguments), obj=Options(None, False, False))
    _, command, rest = group.resolve_command(context, context._protected_args + context.args)
    command.make_context(command.name, rest, parent=context)
