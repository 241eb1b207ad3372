"""What the scripts' command lines have in common."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import NoReturn

from breakglass.remote.faults import USAGE, Fault

PROGRAM = "breakglass-remote.pyz"


class Parser(argparse.ArgumentParser):
    """Raises Fault for a wrong argument."""

    def error(self, message: str) -> NoReturn:
        raise Fault(USAGE, f"{self.prog}: {message}")


def parser_for(script: str, description: str) -> Parser:
    return Parser(prog=f"{PROGRAM} {script}", allow_abbrev=False, description=description)


def at_divider(argv: list[str]) -> tuple[list[str], list[str]]:
    """The arguments before the first `--`, and those after it."""
    position = argv.index("--") if "--" in argv else len(argv)
    return argv[:position], argv[position + 1 :]


def matching(pattern: str, description: str) -> Callable[[str], str]:
    """An argument's type: text that matches the pattern."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise argparse.ArgumentTypeError(f"{text!r} is not {description}")
        return text

    return check
