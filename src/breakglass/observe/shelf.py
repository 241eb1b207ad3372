"""A shelf: the directory of tarballs on a host, read with nothing but the shell of a NAS.

The files and their names are specified in docs/files.md.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from breakglass.errors import Unreachable
from breakglass.plan import Host
from breakglass.ports import Reads, said
from breakglass.shape import NATURAL, fits, parse_json

TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
PLATFORM = re.compile(r"[a-z0-9]+/[a-z0-9_]+")
HASH = re.compile(r"[0-9a-f]{64}")
_HIDDEN = re.compile(r"(\.tar\.gz|\.json)(\.partial|\.sha256|\.new)*$")
"""What follows NAME-TAG in the name of a sidecar, a partial, or a note of ours."""
_RECORD = {
    **{
        "tag": TAG,
        "references": [str],
        "image_id": DIGEST,
        "companions": (None, {str: DIGEST}),
        "platform": PLATFORM,
    },
    **{
        "size_bytes": NATURAL,
        "sha256": HASH,
        "sequence": NATURAL,
        "created_at": str,
        "version": str,
    },
}

# Only sh, cat, ls, wc and readlink, in their busybox form. A name with a character outside the
# grammar of file names is nothing of ours and is not even printed. Sidecars are bounded: a foreign
# file of that name may have any size.
_SCRIPT = """
tell() {
  n=$(($(wc -c <"$3")))
  if [ "$n" -le 65536 ]; then printf '%s %s %s\\n' "$1" "$2" "$n"; cat "$3"; echo; fi
}
cd "$1" 2>/dev/null || { echo absent; exit 0; }
echo present
for f in "$2"-*.tar.gz ."$2"-*.partial ."$2"-*.partial.sha256 ."$2"-*.new; do
  case $f in *[!A-Za-z0-9._-]*) continue;; esac
  if [ -h "$f" ]; then printf 'link %s %s\\n' "$f" "$(readlink "$f")"; continue; fi
  [ -e "$f" ] || continue
  if [ ! -f "$f" ]; then printf 'other %s\\n' "$f"; continue; fi
  printf 'file %s %s\\n' "$f" "$(ls -ln "$f")"
  case $f in
  *.partial.sha256) s=$f ;;
  *.partial|*.new) continue ;;
  *) s=$f.sha256; j=${f%.tar.gz}.json
    if [ -f "$j" ] && [ ! -h "$j" ] && [ -r "$j" ]; then tell json "$f" "$j"; fi ;;
  esac
  if [ -f "$s" ] && [ ! -h "$s" ] && [ -r "$s" ] && [ "$(($(wc -c <"$s")))" -le 4096 ]; then
    while read -r sum rest; do printf 'sum %s %s\\n' "$f" "$sum"; done <"$s"
  fi
done
for j in "$2"-*.json "$2"-*.tar.gz.sha256; do
  case $j in *[!A-Za-z0-9._-]*) continue;; esac
  f=${j%.json}; f=${f%.tar.gz.sha256}.tar.gz
  if [ -e "$f" ] || [ -h "$f" ]; then continue; fi
  if [ -f "$j" ] && [ ! -h "$j" ] && [ -r "$j" ]; then tell orphan "$j" "$j"; fi
done
echo end
"""


@dataclass(frozen=True)
class Record:
    """What the sidecar `NAME-TAG.json` says of its tarball. Sizes in bytes, hashes in hex."""

    tag: str
    references: tuple[str, ...]
    image_id: str
    companions: tuple[tuple[str, str], ...]
    platform: str
    size_bytes: int
    sha256: str
    sequence: int
    created_at: str
    version: str
    text: str
    """The record itself, as one line of JSON without `previous`."""


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
        return self.record.sequence if self.record else -1


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
        host, ("sh", "-c", _SCRIPT, "shelf", directory, name), quiet_seconds=quiet_seconds
    )
    if not result.ok:
        raise Unreachable(
            f"{host}: {directory} could not be listed: {said(result)}",
            next_step=f"look at it with: {host.by_hand('ls', '-la', directory)}",
            where=host.name,
        )
    return parse_shelf(result.stdout, host=host, directory=directory, name=name)


def parse_shelf(output: bytes, *, host: Host, directory: str, name: str) -> Shelf:
    """Pure; raises Unreachable for an output that is not a whole listing."""
    chunks = list(_chunks(output))
    if chunks[:1] == [("absent", "", b"")]:
        return Shelf(host=host, directory=directory, name=name, present=False)
    if chunks[:1] != [("present", "", b"")] or chunks[-1:] != [("end", "", b"")]:
        raise Unreachable(
            f"{host}: the listing of {directory} is not whole",
            next_step="run it again",
            where=host.name,
        )
    files: dict[str, int] = {}
    links: dict[str, str] = {}
    records: dict[str, list[Record]] = {}
    sums: dict[str, list[str]] = {}
    foreign: list[str] = []
    orphans: list[str] = []
    for kind, file, rest in chunks:
        if kind == "file":
            fields = rest.split()
            if len(fields) > 4 and fields[4].isdigit() and len(fields[4]) < 20:
                files[file] = int(fields[4])
        elif kind == "link":
            links[file] = rest.decode("utf-8", "replace")
        elif kind == "json":
            records[file] = parse_records(rest)
        elif kind == "sum":
            sums.setdefault(file, []).append(rest.decode("utf-8", "replace"))
        elif kind == "other":
            foreign.append(file)
        elif kind == "orphan" and _is_orphan(file, rest, name):
            orphans.append(file)
    tarballs: list[Tarball] = []
    hidden: set[str] = set()
    latest_name = f"{name}-latest.tar.gz"
    for file, size_bytes in files.items():
        if file.startswith("."):
            hidden.add(_HIDDEN.sub(".tar.gz", file[1:]))
            continue
        tag = tag_of(file, name)
        if tag is None or tag == "latest":
            foreign.append(file)
            continue
        told = [
            record
            for record in records.get(file, [])
            if record.tag == tag and record.sha256 in sums.get(file, [])
        ]
        fits = [record for record in told if record.size_bytes == size_bytes]
        tarballs.append(
            Tarball(
                file,
                tag,
                size_bytes,
                next(iter(fits or told), None),
                being_replaced=bool(fits) and (len(records[file]) > 1 or len(sums[file]) > 1),
            )
        )
    foreign += [file for file in links if file != latest_name and not file.startswith(".")]
    partials = [
        _partial(file, files, sums)
        for file in sorted(hidden)
        if (tag_of(file, name) or "latest") != "latest"
    ]
    tarballs.sort(
        key=lambda tarball: (tarball.verified, tarball.sequence, tarball.tag), reverse=True
    )
    latest, fault = _latest(
        links.get(latest_name), latest_name in foreign, name, {tarball.tag for tarball in tarballs}
    )
    return Shelf(
        host,
        directory,
        name,
        True,
        tuple(tarballs),
        latest,
        fault,
        tuple(partials),
        tuple(sorted(foreign)),
        tuple(orphans),
    )


def _is_orphan(file: str, content: bytes, name: str) -> bool:
    """Whether a sidecar without its tarball is one that we have written: others may keep files of
    such names there.
    """
    tarball = _HIDDEN.sub(".tar.gz", file)
    tag = tag_of(tarball, name)
    if tag is None or tag == "latest":
        return False
    if file.endswith(".json"):
        records = parse_records(content)
        return bool(records) and all(record.tag == tag for record in records)
    return (
        re.fullmatch(
            rf"([0-9a-f]{{64}}  {re.escape(tarball)}\n)+", content.decode("utf-8", "replace")
        )
        is not None
    )


def _partial(file: str, files: dict[str, int], sums: dict[str, list[str]]) -> Partial:
    note = [value for value in sums.get(f".{file}.partial.sha256", []) if HASH.fullmatch(value)]
    return Partial(file, files.get(f".{file}.partial", 0), note[0] if len(note) == 1 else None)


def tag_of(file: str, name: str) -> str | None:
    """The tag in `NAME-TAG.tar.gz`, or None."""
    tag = (
        file[len(name) + 1 : -len(".tar.gz")]
        if file.startswith(f"{name}-") and file.endswith(".tar.gz")
        else ""
    )
    return tag if TAG.fullmatch(tag) else None


def parse_records(content: bytes) -> list[Record]:
    """The records of a sidecar: the current one, and while a tarball is being replaced the previous
    one; [] for anything else.
    """
    try:
        data = parse_json(content)
    except ValueError:
        return []
    found: list[Record] = []
    while isinstance(data, dict) and len(found) < 2:
        previous = data.pop("previous", None)
        record = _record(data)
        if record is None:
            return []
        found.append(record)
        data = previous
    return found


def _record(data: dict[str, Any]) -> Record | None:
    if not fits(data, _RECORD) or not data["references"]:
        return None
    return Record(
        tag=data["tag"],
        references=tuple(data["references"]),
        image_id=data["image_id"],
        companions=tuple(sorted((data.get("companions") or {}).items())),
        platform=data["platform"],
        size_bytes=data["size_bytes"],
        sha256=data["sha256"],
        sequence=data["sequence"],
        created_at=data["created_at"],
        version=data["version"],
        text=json.dumps(data, separators=(",", ":")),
    )


def _latest(
    target: str | None, is_no_link: bool, name: str, tags: set[str]
) -> tuple[str | None, str]:
    if is_no_link:
        return None, "is not a link"
    if target is None:
        return None, "is missing"
    tag = tag_of(target, name)
    if tag is None or tag == "latest":
        return None, "points outside of the tarballs of its directory"
    return (tag, "") if tag in tags else (None, f"points at {target}, which is not there")


def _chunks(output: bytes) -> Iterator[tuple[str, str, bytes]]:
    """(kind, file, rest) for each line; the bytes of a sidecar are counted, never searched for line
    ends.
    """
    at = 0
    while at < len(output):
        end = output.find(b"\n", at)
        if end < 0:
            return
        line, at = output[at:end], end + 1
        kind, _, rest = line.partition(b" ")
        file, _, rest = rest.partition(b" ")
        if kind in (b"json", b"orphan") and rest.isdigit() and len(rest) < 9:
            size = int(rest)
            rest, at = output[at : at + size], at + size + 1
        yield kind.decode("ascii", "replace"), file.decode("ascii", "replace"), rest
