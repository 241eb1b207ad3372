"""What a node's containerd has: names, the image IDs they resolve to, and whether it is
unpacked.
"""

import re
from dataclasses import dataclass
from typing import Any

from breakglass.errors import Refused, Unreachable, look_first
from breakglass.observe.containerd_config import BY_DEFAULT, Unpacking
from breakglass.observe.machine import Disk, read_disk
from breakglass.plan import Argv, Host
from breakglass.ports import Reads, Result, said
from breakglass.shape import parse_json
from breakglass.text import inert, version_numbers

REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]*")
PINNED = "io.cri-containerd.pinned=pinned"
MANAGED = "io.cri-containerd.image=managed"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_CONTENT_ROOT = re.compile(r"^\s+root\s+(/[!-~]*)\s*$", re.MULTILINE)
"""In what `ctr plugins ls -d` exports."""


@dataclass(frozen=True)
class Containerd:
    version: str
    targets: dict[str, str]
    """Name -> digest of the manifest or index it points at, of every image in the namespace."""
    image_ids: dict[str, str | None]
    """Name -> image ID (sha256 of the configuration), of the names asked for that exist; None: its
    content is not whole.
    """
    unpacked: frozenset[str]
    """Of the names asked for, those whose image is unpacked, so that pods start from it."""
    pinned: frozenset[str] = frozenset()
    """Names that carry the label which exempts from kubelet's image garbage collection."""
    incomplete: frozenset[str] = frozenset()
    """Of the names asked for, those some of whose layers are not there as blobs: they were removed
    after they were unpacked (discard_unpacked_layers), so they cannot be served.
    """
    unseen: frozenset[str] = frozenset()
    """Of the names asked for that exist, those that the CRI plugin has not marked: kubelet does not
    see them.
    """


@dataclass(frozen=True)
class Ctr:
    """containerd's client as it is called on the nodes, and the namespace of kubelet's images."""

    command: Argv
    namespace: str
    unpacking: Unpacking = BY_DEFAULT

    def line(self, *arguments: str) -> Argv:
        return (*self.command, "-n", self.namespace, *arguments)

    @property
    def line_of_import(self) -> Argv:
        """It imports what comes on standard input, and unpacks it as the CRI plugin does."""
        local = ("--local",) if self.unpacking.options and self.unpacking.has_local else ()
        return self.line("images", "import", *local, *self.unpacking.options, "-")

    def line_of_check(self, names: tuple[str, ...]) -> Argv:
        filters = (f"name=={name}" for name in names)
        return self.line("images", "check", *self.unpacking.options, *filters)


def read_containerd(
    reads: Reads, host: Host, ctr: Ctr, *, names: tuple[str, ...], architecture: str
) -> Containerd:
    """Raises Refused when containerd does not answer on the node."""
    version = reads.ask(host, (*ctr.command, "version"))
    if not version.ok:
        raise Refused(
            f"containerd on {host} does not answer: {said(version)}",
            next_step=look_first(host.by_hand("systemctl", "status", "containerd")),
        )
    listing = _listing(reads, host, ctr)
    targets = parse_targets(listing)
    wanted = {name: targets[name] for name in names if name in targets}
    ids = {
        target: read_image_id(reads, host, ctr, target, architecture)
        for target in set(wanted.values())
    }
    unpacked, incomplete = read_checks(reads, host, ctr, tuple(wanted))
    return Containerd(
        _server_version(version.stdout),
        targets,
        {name: ids[target] for name, target in wanted.items()},
        unpacked,
        parse_labelled(listing, PINNED),
        incomplete,
        frozenset(wanted) - parse_labelled(listing, MANAGED),
    )


def not_known(host: Host, argv: Argv, result: Result) -> Unreachable:
    """The error where containerd gives no answer to a question."""
    return Unreachable(
        f"{host}: containerd could not be asked: {said(result)}",
        next_step=look_first(host.by_hand(*argv)),
        where=host.name,
    )


def read_disk_of_content(reads: Reads, host: Host, ctr: Ctr) -> Disk | None:
    """The file system of containerd's content store, where an import puts everything; None: it is
    not reported.
    """
    listing = reads.ask(host, (*ctr.command, "plugins", "ls", "-d", "id==content"))
    root = _CONTENT_ROOT.search(listing.stdout.decode("utf-8", "replace"))
    if not (listing.ok and root):
        return None
    try:
        return read_disk(reads, host, root[1])
    except Unreachable:
        # Not to know the room is no reason to give up in an outage; where the host itself is gone
        # the next question says so.
        return None


def read_targets(reads: Reads, host: Host, ctr: Ctr) -> dict[str, str]:
    return parse_targets(_listing(reads, host, ctr))


def _listing(reads: Reads, host: Host, ctr: Ctr) -> bytes:
    listing = reads.ask(host, ctr.line("images", "ls"))
    if not listing.ok:
        raise Unreachable(
            f"{host}: the images could not be listed: {said(listing)}",
            next_step=look_first(host.by_hand(*ctr.line("images", "ls"))),
            where=host.name,
        )
    return listing.stdout


def parse_targets(output: bytes) -> dict[str, str]:
    """The table of `ctr images ls`: REF TYPE DIGEST SIZE PLATFORMS LABELS."""
    found = {}
    for line in output.decode("utf-8", "replace").splitlines():
        fields = line.split()
        if len(fields) > 2 and REFERENCE.fullmatch(fields[0]) and _DIGEST.fullmatch(fields[2]):
            found[fields[0]] = fields[2]
    return found


def parse_labelled(output: bytes, label: str) -> frozenset[str]:
    """Of the same table, the names that carry a label."""
    lines = [line.split() for line in output.decode("utf-8", "replace").splitlines()]
    # Another label's value may have blanks in it.
    return frozenset(
        fields[0] for fields in lines if label in re.split("[, ]", " ".join(fields[3:]))
    )


def honours_pinned(version: str) -> bool:
    """Whether a containerd exempts an image that it knows already from collection once a name of it
    carries the label: from 1.6.25 and 1.7.10 on.
    """
    numbers = version_numbers(version) or (0, 0, 0)
    return numbers >= (1, 7, 10) or (1, 6, 25) <= numbers < (1, 7, 0)


def read_image_id(reads: Reads, host: Host, ctr: Ctr, target: str, architecture: str) -> str | None:
    """The image ID behind a manifest or index, for the node's architecture; None where its content
    is not there.
    """
    for _ in range(3):
        document = _content(reads, host, ctr, target)
        if document is None:
            return None
        next_digest, is_configuration = choose(document, architecture)
        if next_digest is None or is_configuration:
            return next_digest
        target = next_digest
    return None


def choose(document: dict[str, Any], architecture: str) -> tuple[str | None, bool]:
    """The digest to read next in a manifest or an index (OCI image specification), and whether it
    is the digest of the configuration. None if no child fits the architecture.
    """
    configuration = document.get("config")
    if isinstance(configuration, dict):
        digest = configuration.get("digest")
        return (digest if isinstance(digest, str) and _DIGEST.fullmatch(digest) else None), True
    children = document.get("manifests")
    entries = (
        [child for child in children if isinstance(child, dict)]
        if isinstance(children, list)
        else []
    )
    for child in entries:
        platform = child.get("platform")
        fits = not isinstance(platform, dict) or (
            platform.get("os"),
            platform.get("architecture"),
        ) == ("linux", architecture)
        digest = child.get("digest")
        if fits and isinstance(digest, str) and _DIGEST.fullmatch(digest):
            return digest, False
    return None, False


def _content(reads: Reads, host: Host, ctr: Ctr, digest: str) -> dict[str, Any] | None:
    argv = ctr.line("content", "get", digest)
    result = reads.ask(host, argv)
    if result.exit_status is None:
        raise not_known(host, argv, result)
    try:
        document = parse_json(result.stdout) if result.ok else None
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def read_checks(
    reads: Reads, host: Host, ctr: Ctr, names: tuple[str, ...]
) -> tuple[frozenset[str], frozenset[str]]:
    """Those names whose image is unpacked, and those whose blobs are not all there, by
    `ctr images check`: REF TYPE DIGEST STATUS SIZE UNPACKED.
    """
    if not names:
        return frozenset(), frozenset()
    argv = ctr.line_of_check(names)
    result = reads.ask(host, argv)
    if result.exit_status is None:
        raise not_known(host, argv, result)
    rows = {
        row[0]: row
        for row in map(str.split, result.stdout.decode("utf-8", "replace").splitlines())
        if len(row) > 4 and row[0] in names
    }
    return (
        frozenset(name for name, row in rows.items() if row[-1] == "true"),
        frozenset(name for name, row in rows.items() if "complete" not in row),
    )


def _server_version(output: bytes) -> str:
    versions = re.findall(
        r"^\s*Version:\s*v?(\S+)", output.decode("utf-8", "replace"), re.MULTILINE
    )
    return inert(versions[-1]) if versions else "unknown"
