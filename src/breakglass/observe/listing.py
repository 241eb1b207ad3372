"""The listing of a directory of tarballs, made with nothing but the shell of a NAS.

The names of the files are specified in docs/files.md.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_AFTER_TAG = re.compile(r"(\.tar\.gz|\.json)(\.partial|\.sha256|\.sig|\.new)*$")
"""What follows NAME-TAG in the name of a sidecar, a partial, or a note of ours."""

# Only sh, cat, ls, wc and readlink, in their busybox form. A name with a character outside the
# grammar of file names is nothing of ours and is not even printed. Sidecars are bounded: a foreign
# file of that name may have any size.
SCRIPT = """
emit() {
  n=$(($(wc -c <"$3")))
  if [ "$n" -le 65536 ]; then printf '%s %s %s\\n' "$1" "$2" "$n"; cat "$3"; echo; fi
}
own() { [ -f "$1" ] && [ ! -h "$1" ] && [ -r "$1" ]; }
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
    if own "$j"; then emit json "$f" "$j"; fi
    if own "$j.sig"; then emit sig "$f" "$j.sig"; fi ;;
  esac
  if own "$s" && [ "$(($(wc -c <"$s")))" -le 4096 ]; then
    while read -r sum rest; do printf 'sum %s %s\\n' "$f" "$sum"; done <"$s"
  fi
done
for j in "$2"-*.json "$2"-*.json.sig "$2"-*.tar.gz.sha256; do
  case $j in *[!A-Za-z0-9._-]*) continue;; esac
  f=${j%.sig}; f=${f%.json}; f=${f%.tar.gz.sha256}.tar.gz
  if [ -e "$f" ] || [ -h "$f" ]; then continue; fi
  if own "$j"; then emit orphan "$j" "$j"; fi
done
echo end
"""


@dataclass
class Listing:
    """What the script has printed, by the name of the file."""

    sizes: dict[str, int] = field(default_factory=dict)
    """Of the regular files, in bytes."""
    links: dict[str, str] = field(default_factory=dict)
    """Where each symbolic link points."""
    sidecars: dict[str, bytes] = field(default_factory=dict)
    """The JSON beside each tarball."""
    signatures: dict[str, bytes] = field(default_factory=dict)
    """The file of signatures beside each JSON."""
    sums: dict[str, list[str]] = field(default_factory=dict)
    """The first word of each line of the .sha256 beside each tarball."""
    others: list[str] = field(default_factory=list)
    """Directories, devices and the like."""
    orphans: dict[str, bytes] = field(default_factory=dict)
    """Sidecars whose tarball is gone."""


def parse_listing(output: bytes) -> Listing | None:
    """None: there is no such directory. Raises ValueError for what is not a whole listing."""
    chunks = list(_chunks(output))
    if chunks[:1] == [("absent", "", b"")]:
        return None
    if chunks[:1] != [("present", "", b"")] or chunks[-1:] != [("end", "", b"")]:
        raise ValueError("the listing is not whole")
    listing = Listing()
    for kind, file, rest in chunks:
        if kind == "file":
            fields = rest.split()
            if len(fields) > 4 and fields[4].isdigit() and len(fields[4]) < 20:
                listing.sizes[file] = int(fields[4])
        elif kind == "link":
            listing.links[file] = rest.decode("utf-8", "replace")
        elif kind == "json":
            listing.sidecars[file] = rest
        elif kind == "sig":
            listing.signatures[file] = rest
        elif kind == "sum":
            listing.sums.setdefault(file, []).append(rest.decode("utf-8", "replace"))
        elif kind == "other":
            listing.others.append(file)
        elif kind == "orphan":
            listing.orphans[file] = rest
    return listing


def tag_of(file: str, name: str) -> str | None:
    """The tag in `NAME-TAG.tar.gz`, or None."""
    if not (file.startswith(f"{name}-") and file.endswith(".tar.gz")):
        return None
    tag = file[len(name) + 1 : -len(".tar.gz")]
    return tag if TAG.fullmatch(tag) else None


def own_tag(file: str, name: str) -> str | None:
    """The tag of a file that is named as our tarballs are; `latest` is only a link, also that of an
    image NAME-foo beside the image NAME.
    """
    tag = tag_of(file, name)
    return None if tag is None or f"-{tag}".endswith("-latest") else tag


def tarball_of(file: str) -> str:
    """The name of the tarball that a sidecar, a partial or a note belongs to."""
    return _AFTER_TAG.sub(".tar.gz", file.removeprefix("."))


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
        if kind in (b"json", b"sig", b"orphan") and rest.isdigit() and len(rest) < 9:
            size = int(rest)
            rest, at = output[at : at + size], at + size + 1
        yield kind.decode("ascii", "replace"), file.decode("ascii", "replace"), rest
