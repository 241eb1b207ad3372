"""The command lines of `responder`."""

from __future__ import annotations

import argparse
import posixpath
import re
from typing import Any, NamedTuple

from breakglass.remote.arguments import at_divider, parser_for

TAG = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"
HOST = (
    r"(?=[^/]*[.:\]]|localhost)"
    r"(?:[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
)
PART = r"[a-z0-9]+(?:(?:[.]|__?|-+)[a-z0-9]+)*"
NAME = rf"(?P<registry>{HOST})/(?P<repository>(?=[^:]{{1,255}}:){PART}(?:/{PART})*):(?P<tag>{TAG})"
DIGEST = r"sha256:[0-9a-f]{64}"
MEDIA_TYPE = r"application/[A-Za-z0-9][A-Za-z0-9.+-]{0,126}"


class Answer(NamedTuple):
    """What one name is answered with."""

    registry: str
    repository: str
    tag: str
    media_type: str
    digest: str

    @property
    def name(self) -> str:
        return f"{self.registry}/{self.repository}:{self.tag}"


def parse(argv: list[str]) -> argparse.Namespace:
    """Raises Fault."""
    parser = parser_for(
        "responder",
        "Answer pulls of a few images on the node's loopback, out of containerd's content store.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    _add_start(commands)
    _add_serve(commands)
    _add(commands, "stop", "end this DIRECTORY's responder, and remove its file")
    _add(commands, "status", "what runs and answers; changes nothing")
    ours, ctr = at_divider(argv)
    arguments = parser.parse_args(ours)
    arguments.ctr = ctr
    is_start = arguments.command == "start"
    if bool(ctr) != is_start:
        parser.error("start, and only start, needs `-- CTR...`")
    names = [each[0] if is_start else each.name for each in getattr(arguments, "answer", [])]
    if len(set(names)) < len(names):
        parser.error("a name is given twice")
    return arguments


def _add_start(commands: Any) -> None:
    added = _add(
        commands,
        "start",
        "serve these names from now on, instead of what this DIRECTORY's responder served before",
    )
    added.epilog = "After `--`: how ctr is called."
    _add_served(added, kept, "NAME=KEPT")


def _add_serve(commands: Any) -> None:
    description = "answer until SIGTERM comes, or this file is removed"
    added: argparse.ArgumentParser = commands.add_parser(
        "serve", help=description, description=description, allow_abbrev=False
    )
    _add_served(added, answer, "NAME=MEDIATYPE@DIGEST")


def _add(commands: Any, name: str, description: str) -> argparse.ArgumentParser:
    added: argparse.ArgumentParser = commands.add_parser(
        name, help=description, description=description, allow_abbrev=False
    )
    added.add_argument("directory", type=path, metavar="DIRECTORY")
    return added


def _add_served(added: argparse.ArgumentParser, kind: Any, metavar: str) -> None:
    added.add_argument("--port", required=True, type=port, help="on 127.0.0.1")
    added.add_argument(
        "--content",
        required=True,
        type=path,
        help="containerd's content store, the directory that holds `blobs`",
    )
    added.add_argument("--answer", required=True, action="append", type=kind, metavar=metavar)


def path(text: str) -> str:
    if (
        not text.startswith("/")
        or text.startswith("//")
        or text == "/"
        or posixpath.normpath(text) != text
        or not all(each.isalnum() or each in "/._-+,:=@ " for each in text)
    ):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an absolute path without '.', '..', doubled or trailing slashes"
        )
    return text


def port(text: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", text, re.ASCII) or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port")
    return int(text)


def kept(text: str) -> tuple[str, str]:
    found = re.fullmatch(rf"(?P<name>{NAME})=(?P<kept>{NAME.replace('?P<', '?P<kept_')})", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=KEPT, both REGISTRY/REPOSITORY:TAG")
    return found["name"], found["kept"]


def answer(text: str) -> Answer:
    found = re.fullmatch(f"{NAME}=(?P<media_type>{MEDIA_TYPE})@(?P<digest>{DIGEST})", text)
    if found is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not REGISTRY/REPOSITORY:TAG=MEDIATYPE@DIGEST"
        )
    return Answer(**found.groupdict())
