"""A shelf: the directory of tarballs on a host, read with nothing but the shell of a NAS.

The files and their names are specified in docs/files.md.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from breakglass.age import moment_of
from breakglass.errors import RUN_AGAIN, Unreachable, look_first
from breakglass.observe.leftovers import Partial, orphans_in, partials_in
from breakglass.observe.listing import SCRIPT, Listing, own_tag, parse_listing
from breakglass.observe.record import LARGEST_SEQUENCE, Record, parse_records
from breakglass.plan import Host
from breakglass.ports import Reads, said
from breakglass.signatures.allowed_signers import Signers
from breakglass.signatures.judgement import UNSIGNED, Signature, judge
from breakglass.signatures.sshsig import blocks


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
    signature: Signature = UNSIGNED
    """Who made the record."""
    trusted: bool = True
    """False: the configuration says who may sign, and none of those has signed the record."""

    @property
    def verified(self) -> bool:
        """Whether it counts: its record is complete, from somebody who may sign, and fits."""
        return (
            self.trusted and self.record is not None and self.record.size_bytes == self.size_bytes
        )

    @property
    def sequence(self) -> int:
        if self.record is None:
            return -1
        return self.record.sequence if self.record.sequence <= LARGEST_SEQUENCE else 0


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
    reads: Reads,
    host: Host,
    directory: str,
    name: str,
    *,
    signers: Signers | None,
    quiet_seconds: float = 30.0,
) -> Shelf:
    """`signers`: who may sign records; None: the configuration does not say. Raises Unreachable
    when the host is not reached or its listing was cut short.
    """
    result = reads.ask(
        host, ("sh", "-c", SCRIPT, "shelf", directory, name), quiet_seconds=quiet_seconds
    )
    if not result.ok:
        raise Unreachable(
            f"{host}: {directory} could not be listed: {said(result)}",
            next_step=look_first(host.by_hand("ls", "-la", directory)),
            where=host.name,
        )
    return parse_shelf(result.stdout, host=host, directory=directory, name=name, signers=signers)


def parse_shelf(
    output: bytes, *, host: Host, directory: str, name: str, signers: Signers | None
) -> Shelf:
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
    tarballs = _tarballs(listing, name, signers)
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
        partials=partials_in(listing, name),
        foreign=foreign,
        orphans=orphans_in(listing, name),
    )


def _tarballs(listing: Listing, name: str, signers: Signers | None) -> tuple[Tarball, ...]:
    return newest_first(
        _tarball(listing, file, tag, signers)
        for file in listing.sizes
        if (tag := own_tag(file, name)) is not None
    )


def newest_first(tarballs: Iterable[Tarball]) -> tuple[Tarball, ...]:
    """Verified ones first. The time decides between equal sequences, as at their bound."""
    return tuple(sorted(tarballs, key=_order, reverse=True))


def _order(tarball: Tarball) -> tuple[bool, int, float, str]:
    moment = moment_of(tarball.record.created_at) if tarball.record else None
    return (
        tarball.verified,
        tarball.sequence,
        moment.timestamp() if moment else -math.inf,
        tarball.tag,
    )


def _tarball(listing: Listing, file: str, tag: str, signers: Signers | None) -> Tarball:
    size_bytes = listing.sizes[file]
    records = parse_records(listing.sidecars.get(file, b""))
    sums = listing.sums.get(file, [])
    complete = [record for record in records if record.tag == tag and record.sha256 in sums]
    matching = [record for record in complete if record.size_bytes == size_bytes]
    record = next(iter(matching or complete), None)
    found = blocks(listing.signatures.get(file, b"").decode("ascii", "replace"))
    signature = (
        judge(record.signed_bytes, found, signers, moment_of(record.created_at))
        if record is not None
        else UNSIGNED
    )
    return Tarball(
        file,
        tag,
        size_bytes,
        record,
        being_replaced=bool(matching) and (len(records) > 1 or len(sums) > 1),
        signature=signature,
        trusted=signers is None or signature.is_allowed,
    )


def _foreign(listing: Listing, name: str) -> tuple[str, ...]:
    """Names like tarballs that are none."""
    files = [
        file for file in listing.sizes if not file.startswith(".") and own_tag(file, name) is None
    ]
    links = [
        file
        for file in listing.links
        if not file.startswith(".") and file != f"{name}-latest.tar.gz"
    ]
    return tuple(sorted([*listing.others, *files, *links]))


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
    tag = own_tag(target, name)
    if tag is None:
        return None, "points outside of the tarballs of its directory"
    if tag not in tags:
        return None, f"points at {target}, which is not there"
    return tag, ""
