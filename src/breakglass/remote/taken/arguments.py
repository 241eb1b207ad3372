"""The command lines of `taken`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from breakglass.remote.arguments import at_divider, matching, parser_for

registry = matching(
    r"[A-Za-z0-9_][A-Za-z0-9._-]*(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?",
    "a registry's host, with its port",
)


def parse(argv: list[str]) -> argparse.Namespace:
    """Raises Fault."""
    parser = parser_for("taken", "Record what is taken from a node, and give it back.")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_read(commands)
    _add_begin(commands)
    _add_insert(commands)
    _add_put_back(commands)
    _add(commands, "end", "the record goes, once all is restored")
    ours, rest = at_divider(argv)
    arguments = parser.parse_args(ours)
    arguments.rest = rest
    return arguments


def _add_read(commands: Any) -> None:
    added = _add(
        commands,
        "read",
        "the record, the files that it names and, with --registry, how containerd finds its "
        "registries; changes nothing",
    )
    added.add_argument(
        "--certs",
        required=True,
        type=absolute,
        metavar="DIRECTORY",
        help="containerd's config_path",
    )
    added.add_argument(
        "--registry", action="append", default=[], metavar="HOST[:PORT]", type=registry
    )
    added.epilog = "after --: how containerd's client is called"


def _add_begin(commands: Any) -> None:
    added = _add(commands, "begin", "a record, where there is none")
    added.add_argument(
        "--namespace",
        required=True,
        type=matching(r"[A-Za-z0-9._-]{1,76}", "a namespace"),
        help="of containerd, where names of ours are",
    )


def _add_insert(commands: Any) -> None:
    added = _add(
        commands,
        "insert",
        "lines of standard input into a file, or into a new one; what was there is recorded first",
    )
    added.add_argument("file", type=absolute, metavar="FILE")
    added.add_argument(
        "--onto",
        required=True,
        type=matching("absent|[0-9a-f]{64}", "a sha256, or absent"),
        metavar="SHA256",
        help="of the file as it has to be now, or `absent`",
    )
    added.add_argument(
        "--copy",
        type=absolute,
        metavar="FILE",
        help="the file is new, and a copy of this one, whose sha256 is then --onto",
    )
    added.add_argument(
        "--before",
        required=True,
        type=matching("[1-9][0-9]{0,5}|end", "the number of a line, or end"),
        metavar="LINE",
        help="the first line has number 1",
    )
    added.epilog = "standard input: the lines"


def _add_put_back(commands: Any) -> None:
    added = _add(
        commands,
        "put_back",
        "a file as it was before insert; one that was edited, replaced or deleted since is left",
    )
    added.add_argument("file", type=absolute, metavar="FILE")
    added.add_argument(
        "--although-gone", action="store_true", help="one that was deleted comes back"
    )


def _add(commands: Any, name: str, description: str) -> argparse.ArgumentParser:
    added: argparse.ArgumentParser = commands.add_parser(
        name, help=description, description=description, allow_abbrev=False
    )
    added.add_argument("directory", type=absolute, metavar="DIRECTORY")
    return added


def absolute(text: str) -> Path:
    if not text.startswith("/") or os.path.normpath(text) != text or "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is not an absolute path")
    return Path(text)
