"""A shelf: the directory of tarballs on a host, read with nothing but the shell of a NAS.

The files and their names are specified in docs/files.md.
"""

import re
from dataclasses import dataclass

from breakglass.errors import RUN_AGAIN, Unreachable, look_first
from breakglass.observe.listing import (
    SCRIPT,
    Listing,
    parse_listing,
    tag_of,
    tarball_of,
)
from breakglass.observe.record import HASH, LARGEST_SEQUENCE, Record, parse_records
from breakglass.plan import Host
from breakglass.ports import Reads, said


@dataclass(frozen=True)
class Tarball:
    """One file `NAME-TAG.tar.gz`."""

    file: str
    tag: str
    size_bytes: int
    record: Record | None
    """None: no complete sidecar; then it does not count as verified."""
    being_replaced: bool = False
    """Its sidecars still name the tarball that it replaced: the run that did so was cut short."""

    @property
    def verified(self) -> bool:
        return self.record is not None and self.record.size_bytes == self.size_bytes

    @property
    def sequence(self) -> int:
        if self.record is None:
            return -1
        return self.record.sequence if self.record.sequence <= LARGEST_SEQUENCE else 0


@dataclass(frozen=True)
class Partial:
    """Hidden files of one tarball that a run which was cut short has left."""

    file: str
    """The name that it was to get."""
    size_bytes: int
    """Of what has arrived; 0 where only notes are left."""
    sha256: str | None
    """Of the object that it is the beginning of, where the run noted it."""


@dataclass(frozen=True)
class Shelf:
    host: Host
    directory: str
    name: str
    present: bool
    tarballs: tuple[Tarball, ...] = ()
    """Verified ones first, newest (highest sequence) first."""
    latest: str | None = None
    """The tag that the `latest` link means, where it means one that is there."""
    latest_fault: str = ""
    partials: tuple[Partial, ...] = ()
    foreign: tuple[str, ...] = ()
    """Names like tarballs that are none: directories, links, tags outside the grammar. The name of
    the `latest` link is among them where it is no link.
    """
    orphans: tuple[str, ...] = ()
    """Sidecars whose tarball is gone: a removal that was cut short between them has left them."""

    def find(self, tag: str) -> Tarball | None:
        return next((tarball for tarball in self.tarballs if tarball.tag == tag), None)

    @property
    def verified(self) -> tuple[Tarball, ...]:
        return tuple(tarball for tarball in self.tarballs if tarball.verified)

    @property
    def latest_file(self) -> str:
        return f"{self.name}-latest.tar.gz"

    @property
    def path_of_latest(self) -> str:
        return f"{self.directory}/{self.latest_file}"

    def path(self, tarball: Tarball) -> str:
        return f"{self.directory}/{tarball.file}"


def read_shelf(
    reads: Reads, host: Host, directory: str, name: str, *, quiet_seconds: float = 30.0
) -> Shelf:
    """Raises Unreachable when the host is not reached or its listing was cut short."""
    result = reads.ask(
        host, ("sh", "-c", SCRIPT, "shelf", directory, name), quiet_seconds=quiet_seconds
    )
    if not result.ok:
        raise Unreachable(
            f"{host}: {directory} could not be listed: {said(result)}",
            next_step=look_first(host.by_hand("ls", "-la", directory)),
            where=host.name,
        )
    return parse_shelf(result.stdout, host=host, directory=directory, name=name)


def parse_shelf(output: bytes, *, host: Host, directory: str, name: str) -> Shelf:
    """Pure; raises Unreachable for an output that is not a whole listing."""
    try:
        listing = parse_listing(output)
    except ValueError as error:
        raise Unreachable(
            f"{host}: the listing of {directory} is not whole",
            next_step=RUN_AGAIN,
            where=host.name,
        ) from error
    if listing is None:
        return Shelf(host=host, directory=directory, name=name, present=False)
    tarballs = _tarballs(listing, name)
    foreign = _foreign(listing, name)
    latest, latest_fault = _latest(listing, foreign, name, {tarball.tag for tarball in tarballs})
    return Shelf(
        host=host,
        directory=directory,
        name=name,
        present=True,
        tarballs=tarballs,
        latest=latest,
        latest_fault=latest_fault,
        partials=_partials(listing, name),
        foreign=foreign,
        orphans=tuple(
            file for file, content in listing.orphans.items() if _is_orphan(file, content, name)
        ),
    )


def _tarballs(listing: Listing, name: str) -> tuple[Tarball, ...]:
    """Verified ones first, newest first."""
    tarballs = [
        _tarball(listing, file, tag)
        for file in listing.sizes
        if (tag := _own_tag(file, name)) is not None
    ]
    tarballs.sort(
        key=lambda tarball: (tarball.verified, tarball.sequence, tarball.tag), reverse=True
    )
    return tuple(tarballs)


def _tarball(listing: Listing, file: str, tag: str) -> Tarball:
    size_bytes = listing.sizes[file]
    records = parse_records(listing.sidecars.get(file, b""))
    sums = listing.sums.get(file, [])
    complete = [record for record in records if record.tag == tag and record.sha256 in sums]
    matching = [record for record in complete if record.size_bytes == size_bytes]
    return Tarball(
        file,
        tag,
        size_bytes,
        next(iter(matching or complete), None),
        being_replaced=bool(matching) and (len(records) > 1 or len(sums) > 1),
    )


def _own_tag(file: str, name: str) -> str | None:
    """The tag of a file that is named as our tarballs are; `latest` is only a link, also that of an
    image NAME-foo beside the image NAME.
    """
    tag = tag_of(file, name)
    return None if tag is None or f"-{tag}".endswith("-latest") else tag


def _foreign(listing: Listing, name: str) -> tuple[str, ...]:
    """Names like tarballs that are none."""
    files = [
        file for file in listing.sizes if not file.startswith(".") and _own_tag(file, name) is None
    ]
    links = [
        file
        for file in listing.links
        if not file.startswith(".") and file != f"{name}-latest.tar.gz"
    ]
    return tuple(sorted([*listing.others, *files, *links]))


def _partials(listing: Listing, name: str) -> tuple[Partial, ...]:
    hidden = {tarball_of(file) for file in listing.sizes if file.startswith(".")}
    return tuple(
        _partial(listing, file) for file in sorted(hidden) if _own_tag(file, name) is not None
    )


def _partial(listing: Listing, file: str) -> Partial:
    sums = listing.sums.get(f".{file}.partial.sha256", [])
    hashes = [value for value in sums if HASH.fullmatch(value)]
    size_bytes = listing.sizes.get(f".{file}.partial", 0)
    return Partial(file, size_bytes, hashes[0] if len(hashes) == 1 else None)


def _latest(
    listing: Listing, foreign: tuple[str, ...], name: str, tags: set[str]
) -> tuple[str | None, str]:
    """(tag, fault) of the `latest` link."""
    link = f"{name}-latest.tar.gz"
    target = listing.links.get(link)
    if link in foreign:
        return None, "is not a link"
    if target is None:
        return None, "is missing"
    tag = _own_tag(target, name)
    if tag is None:
        return None, "points outside of the tarballs of its directory"
    if tag not in tags:
        return None, f"points at {target}, which is not there"
    return tag, ""


def _is_orphan(file: str, content: bytes, name: str) -> bool:
    """Whether we have written this sidecar: others may keep files of such names there."""
    tarball = tarball_of(file)
    tag = _own_tag(tarball, name)
    if tag is None:
        return False
    if file.endswith(".json"):
        records = parse_records(content)
        return bool(records) and all(record.tag == tag for record in records)
    lines = rf"([0-9a-f]{{64}}  {re.escape(tarball)}\n)+"
    return re.fullmatch(lines, content.decode("utf-8", "replace")) is not None
