"""A stand-in for ctr of containerd 2.4: images and content of one host, kept in files as containerd
keeps its content.
"""

import os
import sys
from collections.abc import Callable
from typing import Any

from breakglass.sandbox.standins import ctr_store as store
from breakglass.sandbox.standins.state import Failure, unknown

VERSION = "2.4.2+sandbox"
ALIASES = {
    "image": "images",
    "i": "images",
    "ns": "namespaces",
    "namespace": "namespaces",
    "list": "ls",
    "remove": "rm",
    "delete": "rm",
    "del": "rm",
    "v": "version",
    "plugin": "plugins",
}


def main(argv: list[str]) -> int:
    namespace = os.environ.get("CONTAINERD_NAMESPACE", "default")
    while argv and argv[0].startswith("-"):
        option, given, value = argv[0].partition("=")
        if option not in ("-n", "--namespace") or not (given or argv[1:]):
            return unknown("ctr", argv[0])
        namespace, argv = (value, argv[1:]) if given else (argv[1], argv[2:])
    words = [ALIASES.get(word, word) for word in argv[:2]]
    for length in (1, 2):
        if command := COMMANDS.get(" ".join(words[:length])):
            try:
                return command(namespace, argv[length:])
            except Failure as failure:
                sys.stderr.write(f"ctr: {failure}\n")
                return 1
    return unknown("ctr", " ".join(argv[:2]))


def import_images(namespace: str, argv: list[str]) -> int:
    # Only here: what reads archives takes as long to load as all the rest.
    from breakglass.sandbox.standins import ctr_import

    return ctr_import.import_images(namespace, argv)


def ls(namespace: str, argv: list[str]) -> int:
    quiet, filters = _options(argv, {"-q", "--quiet"})
    if (wanted := _names(filters)) is None:
        return unknown("ctr", " ".join(filters))
    chosen = {
        name: image
        for name, image in sorted(store.load(namespace)["images"].items())
        if not filters or name in wanted
    }
    if quiet:
        sys.stdout.write("".join(f"{name}\n" for name in chosen))
        return 0
    rows = [["REF", "TYPE", "DIGEST", "SIZE", "PLATFORMS", "LABELS"]]
    for name, image in chosen.items():
        size, platform = image["size"], "-"
        try:
            size += sum(part["size"] for part in _parts(image))
            configuration = store.configuration(image)
            platform = f"{configuration['os']}/{configuration['architecture']}"
        except Failure as failure:
            sys.stderr.write(
                f'level=error msg="failed resolving platform for image {name}" error="{failure}"\n'
            )
        labels = ",".join(f"{key}={value}" for key, value in sorted(image["labels"].items())) or "-"
        rows.append([name, image["type"], image["digest"], _size(size), platform, labels])
    _table(rows)
    return 0


def check(namespace: str, argv: list[str]) -> int:
    quiet, filters = _options(argv, {"-q", "--quiet"})
    if (wanted := _names(filters)) is None:
        return unknown("ctr", " ".join(filters))
    state = store.load(namespace)
    rows = [["REF", "TYPE", "DIGEST", "STATUS", "SIZE", "UNPACKED"]]
    failures: list[str] = []
    for name, image in sorted(state["images"].items()):
        if filters and name not in wanted:
            continue
        status, size, unpacked = "unavailable (0/?)", "0.0 B/?", False
        try:
            parts = _parts(image)
            # By its own records only, like the original: a layer whose file is gone or damaged
            # counts.
            there = [part for part in parts if part["digest"] in state["content"]]
            status = (
                f"{'complete' if len(there) == len(parts) else 'incomplete'} "
                f"({len(there)}/{len(parts)})"
            )
            size = "/".join(_size(sum(part["size"] for part in each)) for each in (there, parts))
            chain = store.chain(store.configuration(image)["rootfs"]["diff_ids"])
            unpacked = chain in state["snapshots"]
        except Failure as failure:
            failures.append(f"unable to check unpack for {name}: {failure}")
        rows.append(
            [name, image["type"], image["digest"], status, size, "true" if unpacked else "false"]
        )
    if quiet:
        sys.stdout.write(
            "".join(f"{row[0]}\n" for row in rows[1:] if row[3].startswith("complete"))
        )
    elif rows[1:]:
        _table(rows)
    if failures:
        raise Failure(failures[0])
    return 0


def tag(namespace: str, argv: list[str]) -> int:
    # As in containerd 2 a name that is there is moved without --force as well.
    _, names = _options(argv, {"--force"})
    if len(names) < 2 or any(name.startswith("-") for name in names):
        return unknown("ctr", " ".join(names))
    with store.changing(namespace) as state:
        source = _image(state, names[0])
        for name in names[1:]:
            # As in containerd 2 the labels stay where they are.
            state["images"][name] = source | {"labels": {}}
            sys.stdout.write(f"{name}\n")
    return 0


def remove(namespace: str, argv: list[str]) -> int:
    _, names = _options(argv, {"--sync"})
    if not names or any(name.startswith("-") for name in names):
        return unknown("ctr", " ".join(names))
    with store.changing(namespace) as state:
        for name in names:
            if state["images"].pop(name, None) is None:
                sys.stderr.write(f'level=warning msg="{name}: image not found"\n')
            else:
                sys.stdout.write(f"{name}\n")
    return 0


def label(namespace: str, argv: list[str]) -> int:
    if len(argv) < 2 or argv[0].startswith("-") or any("=" not in pair for pair in argv[1:]):
        return unknown("ctr", " ".join(argv))
    with store.changing(namespace) as state:
        labels = _image(state, argv[0])["labels"]
        for key, _, value in (pair.partition("=") for pair in argv[1:]):
            # An empty value takes the label away.
            if value:
                labels[key] = value
            else:
                labels.pop(key, None)
        sys.stdout.write(",".join(f"{key}={value}" for key, value in sorted(labels.items())) + "\n")
    return 0


def content_get(namespace: str, argv: list[str]) -> int:
    if len(argv) != 1 or argv[0].startswith("-"):
        return unknown("ctr", " ".join(argv))
    if argv[0] not in store.load(namespace)["content"]:
        raise Failure(f"content digest {argv[0]}: not found")
    sys.stdout.buffer.write(store.read(argv[0]))
    return 0


def content_ls(namespace: str, argv: list[str]) -> int:
    quiet, rest = _options(argv, {"-q", "--quiet"})
    if rest:
        return unknown("ctr", " ".join(rest))
    if not quiet:
        sys.stdout.write("DIGEST\tSIZE\tAGE\tLABELS\n")
    for digest in sorted(store.load(namespace)["content"]):
        sys.stdout.write(
            f"{digest}\n"
            if quiet
            else f"{digest}\t{store.blob(digest).stat().st_size}B\t1 minute\t-\n"
        )
    return 0


def leases_ls(namespace: str, argv: list[str]) -> int:
    quiet, rest = _options(argv, {"-q", "--quiet"})
    if rest or not quiet:
        return unknown("ctr", " ".join(argv) or "(no -q)")
    sys.stdout.write("".join(f"{lease}\n" for lease in store.load(namespace)["leases"]))
    return 0


def leases_create(namespace: str, argv: list[str]) -> int:
    if len(argv) != 2 or argv[0] != "--id" or argv[1].startswith("-"):
        return unknown("ctr", " ".join(argv))
    with store.changing(namespace) as state:
        if argv[1] in state["leases"]:
            raise Failure(f'lease "{argv[1]}": already exists')
        state["leases"].append(argv[1])
    sys.stdout.write(f"{argv[1]}\n")
    return 0


def leases_rm(namespace: str, argv: list[str]) -> int:
    _, leases = _options(argv, {"--sync"})
    if not leases or any(lease.startswith("-") for lease in leases):
        return unknown("ctr", " ".join(argv))
    with store.changing(namespace) as state:
        for lease in leases:
            if lease not in state["leases"]:
                raise Failure(f'lease "{lease}": not found')
            state["leases"].remove(lease)
            sys.stdout.write(f"{lease}\n")
    return 0


def namespaces_ls(namespace: str, argv: list[str]) -> int:  # noqa: ARG001
    quiet, rest = _options(argv, {"-q", "--quiet"})
    if rest:
        return unknown("ctr", " ".join(rest))
    names = store.namespaces()
    if quiet:
        sys.stdout.write("".join(f"{name}\n" for name in names))
    else:
        _table([["NAME", "LABELS"], *([name, ""] for name in names)])
    return 0


def namespaces_rm(namespace: str, argv: list[str]) -> int:  # noqa: ARG001
    if not argv or any(name.startswith("-") for name in argv):
        return unknown("ctr", " ".join(argv))
    for name in argv:
        if (state := store.load(name))["images"] or state["content"] or state["snapshots"]:
            raise Failure(
                f'unable to delete {name}: namespace "{name}" must be empty, but it still '
                f'has images, blobs, snapshots on "overlayfs" snapshotter: failed '
                f"precondition"
            )
        store.forget(name)
        sys.stdout.write(f"{name}\n")
    return 0


def plugins_ls(namespace: str, argv: list[str]) -> int:  # noqa: ARG001
    if argv != ["-d", "id==content"]:
        return unknown("ctr", " ".join(argv))
    sys.stdout.write(
        f"Type:         io.containerd.content.v1\nID:           content\nExports:     \n     "
        f"         root      {store.BLOBS.parent.parent}\n"
    )
    return 0


def version(namespace: str, argv: list[str]) -> int:  # noqa: ARG001
    if argv:
        return unknown("ctr", argv[0])
    facts = f"  Version:  {VERSION}\n  Revision: simulated\n"
    sys.stdout.write(
        f"Client:\n{facts}  Go version: none\n\nServer:\n{facts}  UUID: "
        f"00000000-0000-0000-0000-000000000000\n"
    )
    return 0


def _image(state: dict[str, Any], name: str) -> dict[str, Any]:
    if name not in state["images"]:
        raise Failure(f'image "{name}": not found')
    image: dict[str, Any] = state["images"][name]
    return image


def _parts(image: dict[str, Any]) -> list[dict[str, Any]]:
    """The descriptors of its configuration and layers. Raises Failure."""
    manifest = store.manifest(image)
    return [manifest["config"], *manifest["layers"]]


def _options(argv: list[str], known: set[str]) -> tuple[bool, list[str]]:
    """Whether one of the known options is there, and the rest."""
    return any(argument in known for argument in argv), [
        argument for argument in argv if argument not in known
    ]


def _names(filters: list[str]) -> set[str] | None:
    """What `name==REF` filters ask for; None for a filter of another kind."""
    if not all(text.startswith("name==") and text != "name==" for text in filters):
        return None
    return {text.removeprefix("name==").strip('"') for text in filters}


def _size(size_bytes: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} GiB"


def _table(rows: list[list[str]]) -> None:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        sys.stdout.write(
            "".join(f"{cell:{width}} " for cell, width in zip(row, widths, strict=True)) + "\n"
        )


COMMANDS: dict[str, Callable[[str, list[str]], int]] = {
    "images import": import_images,
    "images ls": ls,
    "images check": check,
    "images tag": tag,
    "images rm": remove,
    "images label": label,
    "content get": content_get,
    "content ls": content_ls,
    "leases ls": leases_ls,
    "leases create": leases_create,
    "leases rm": leases_rm,
    "namespaces ls": namespaces_ls,
    "namespaces rm": namespaces_rm,
    "plugins ls": plugins_ls,
    "version": version,
}
