"""The command lines of `archive`."""

from __future__ import annotations

import argparse
import contextlib
import json
from pathlib import Path
from typing import Any

from breakglass.remote.archive.origins import Origin, origin_of
from breakglass.remote.archive.references import IMAGE_ID, REFERENCE, WORD
from breakglass.remote.archive.signature import armor
from breakglass.remote.arguments import matching, parser_for

READS_STDIN = ("write", "receive", "sign")
FILE = rf"(?!.*-latest\.tar\.gz$)(?!.{{220}}){WORD}-{WORD}\.tar\.gz"

file_name = matching(FILE, "the name of a tarball, NAME-TAG.tar.gz")
reference = matching(REFERENCE, "an image reference with a tag")


def parse(argv: list[str]) -> argparse.Namespace:
    """Raises Fault."""
    parser = parser_for("archive", "Write, receive, verify and publish image tarballs.")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_write(commands)
    _add_pull(commands)
    _add_receive(commands)
    _add_verify(commands)
    _add_canonical(commands)
    _add(
        commands,
        "sign",
        "standard input, the signature of a partial's record, beside it",
    )
    _add(
        commands,
        "publish",
        "a partial and its record get their names; finishes what an earlier publish began",
    )
    _add(
        commands,
        "discard",
        "the partial and the other hidden files of one tarball are removed",
    )
    return parser.parse_args(argv)


def _add_write(commands: Any) -> None:
    added = _add(
        commands,
        "write",
        "standard input, a gzip stream from docker save, into a partial; verified by content "
        "meanwhile",
    )
    _add_references(added, required=True)
    _add_expectations(added)
    added.add_argument(
        "--docker", default="docker", help="asked for the image ID of each reference"
    )
    added.add_argument(
        "--platform",
        type=matching("[a-z0-9]+/[a-z0-9_/]+", "a platform"),
        help="what docker saves of each image, with the containerd image store",
    )


def _add_pull(commands: Any) -> None:
    added = _add(
        commands,
        "pull",
        "images from their registries, with the login that docker keeps for this user, into a "
        "partial; verified by their digests meanwhile",
    )
    for option, is_required, purpose in (
        ("--reference", True, "what the image is called, and the address of its manifest"),
        ("--companion", False, "further images"),
    ):
        added.add_argument(
            option,
            nargs="+",
            action="extend",
            default=[],
            type=origin,
            required=is_required,
            metavar="REFERENCE=URL",
            help=purpose,
        )
    _add_expectations(added)
    added.add_argument(
        "--platform",
        required=True,
        type=matching("[a-z0-9]+/[a-z0-9_/]+", "a platform"),
        help="which image of an index",
    )


def _add_expectations(added: argparse.ArgumentParser) -> None:
    added.add_argument(
        "--image-id",
        action="append",
        default=[],
        type=named_image,
        metavar="REFERENCE=ID",
        help="what the registry was seen to have",
    )
    added.add_argument(
        "--record", required=True, type=json_object, help="JSON: tag, sequence, version"
    )


def _add_receive(commands: Any) -> None:
    added = _add(
        commands,
        "receive",
        "standard input, a tarball from OFFSET on, into a partial; its hash, or without one its "
        "content, is verified",
    )
    _add_references(added)
    added.add_argument(
        "--size",
        required=True,
        type=matching("unknown|[0-9]{1,18}", "a size"),
        help="of the whole tarball in bytes, or `unknown`",
    )
    added.add_argument(
        "--offset",
        required=True,
        type=matching("[0-9]{1,18}", "a number of bytes"),
        help="where standard input starts: the size of the partial, or 0",
    )
    added.add_argument(
        "--record",
        required=True,
        type=json_object,
        help="the tarball's record; where there is none, JSON with tag, sequence, version",
    )
    added.add_argument(
        "--signature",
        type=signature,
        metavar="BASE64",
        help="of that record: what is inside of its armor, in one word",
    )


def _add_verify(commands: Any) -> None:
    description = "an existing tarball, by content and against the record beside it"
    added: argparse.ArgumentParser = commands.add_parser(
        "verify", help=description, description=description, allow_abbrev=False
    )
    added.add_argument("file", metavar="FILE", type=file_path)
    _add_references(added)
    added.add_argument("--image-id", type=matching(IMAGE_ID, "an image ID"), metavar="ID")


def _add_canonical(commands: Any) -> None:
    description = (
        "the images of an existing tarball to standard output, in an archive that is written anew: "
        "for `ctr images import -` or `docker load`"
    )
    added: argparse.ArgumentParser = commands.add_parser(
        "canonical", help=description, description=description, allow_abbrev=False
    )
    added.add_argument("file", metavar="FILE", type=file_path)
    added.add_argument(
        "images",
        nargs="+",
        type=named_image,
        metavar="REFERENCE=ID",
        help="every name in the tarball, and the ID of its image",
    )
    added.add_argument(
        "--digest",
        action="append",
        default=[],
        type=named_image,
        metavar="REFERENCE=DIGEST",
        help="what the record says that a name means at its registry",
    )


def _add(commands: Any, name: str, description: str) -> argparse.ArgumentParser:
    added: argparse.ArgumentParser = commands.add_parser(
        name, help=description, description=description, allow_abbrev=False
    )
    added.add_argument("directory", type=Path, metavar="DIRECTORY")
    added.add_argument("file", metavar="FILE", type=file_name)
    return added


def _add_references(added: argparse.ArgumentParser, *, required: bool = False) -> None:
    added.add_argument(
        "--reference",
        nargs="+",
        action="extend",
        default=[],
        type=reference,
        required=required,
        help="what the image is called in the archive, all of it",
    )
    added.add_argument(
        "--companion",
        nargs="+",
        action="extend",
        default=[],
        type=reference,
        help="further images in the archive",
    )


def signature(text: str) -> str:
    """As the file beside the record has it."""
    armored = armor(text)
    if armored is None:
        raise argparse.ArgumentTypeError("the signature is not base64 of a usual size")
    return armored


def file_path(text: str) -> Path:
    return Path(text).with_name(file_name(Path(text).name or "nothing"))


def origin(text: str) -> Origin:
    with contextlib.suppress(ValueError):
        return origin_of(text)
    raise argparse.ArgumentTypeError(
        f"{text!r} is not REFERENCE=URL with the address of a manifest, "
        "http(s)://HOST/v2/REPOSITORY/manifests/TAG-OR-DIGEST"
    )


def named_image(text: str) -> tuple[str, str]:
    """A reference and the ID of its image."""
    name, _, image_id = matching(f"{REFERENCE}={IMAGE_ID}", "REFERENCE=ID")(text).rpartition("=")
    return name, image_id


def json_object(text: str) -> dict[str, Any]:
    with contextlib.suppress(ValueError, RecursionError):
        value = json.loads(text)
        if isinstance(value, dict):
            return value
    raise argparse.ArgumentTypeError("the record is not a JSON object")
