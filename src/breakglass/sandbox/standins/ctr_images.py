"""`ctr images` but for import: names, their labels, and whether the content is complete."""

import sys
from typing import Any

from breakglass.sandbox.standins import ctr_store as store
from breakglass.sandbox.standins.state import Failure, options, unknown


def ls(namespace: str, argv: list[str]) -> int:
    quiet, filters = options(argv, {"-q", "--quiet"})
    wanted = _names(filters)
    if wanted is None:
        return unknown("ctr", " ".join(filters))
    images = {
        name: image
        for name, image in sorted(store.load(namespace)["images"].items())
        if not filters or name in wanted
    }
    if quiet:
        sys.stdout.write("".join(f"{name}\n" for name in images))
        return 0
    rows = [["REF", "TYPE", "DIGEST", "SIZE", "PLATFORMS", "LABELS"]]
    for name, image in images.items():
        size, platform = image["size"], "-"
        try:
            size += sum(part["size"] for part in _parts(image))
            configuration = store.configuration(image)
            platform = f"{configuration['os']}/{configuration['architecture']}"
        except Failure as failure:
            sys.stderr.write(
                f'level=error msg="failed resolving platform for image {name}" error="{failure}"\n'
            )
        labels = _labels(image) or "-"
        rows.append([name, image["type"], image["digest"], _size(size), platform, labels])
    _print_table(rows)
    return 0


def check(namespace: str, argv: list[str]) -> int:
    snapshotter, argv = store.take_snapshotter(argv)
    wanted = _names(argv)
    if wanted is None:
        return unknown("ctr", " ".join(argv))
    state = store.load(namespace)
    rows = [["REF", "TYPE", "DIGEST", "STATUS", "SIZE", "UNPACKED"]]
    failures: list[str] = []
    for name, image in sorted(state["images"].items()):
        if argv and name not in wanted:
            continue
        status, size, unpacked = "unavailable (0/?)", "0.0 B/?", "false"
        try:
            status, size = _completeness(state, _parts(image))
            chain = store.chain(store.configuration(image)["rootfs"]["diff_ids"])
            key = store.snapshot(chain, snapshotter)
            unpacked = "true" if key in state["snapshots"] else "false"
        except Failure as failure:
            failures.append(f"unable to check unpack for {name}: {failure}")
        rows.append([name, image["type"], image["digest"], status, size, unpacked])
    if rows[1:]:
        _print_table(rows)
    if failures:
        raise Failure(failures[0])
    return 0


def _completeness(state: dict[str, Any], parts: list[dict[str, Any]]) -> tuple[str, str]:
    """The columns STATUS and SIZE."""
    # By ctr's own records, like the original: a layer whose file is lost or damaged counts.
    present = [part for part in parts if part["digest"] in state["content"]]
    status = "complete" if len(present) == len(parts) else "incomplete"
    sizes = [_size(sum(part["size"] for part in group)) for group in (present, parts)]
    return f"{status} ({len(present)}/{len(parts)})", "/".join(sizes)


def tag(namespace: str, argv: list[str]) -> int:
    # containerd 2 moves a name that exists, with or without --force.
    _, names = options(argv, {"--force"})
    if len(names) < 2 or any(name.startswith("-") for name in names):
        return unknown("ctr", " ".join(names))
    with store.changing(namespace) as state:
        source = _image(state, names[0])
        for name in names[1:]:
            # containerd 2 does not copy the labels.
            state["images"][name] = source | {"labels": {}}
            sys.stdout.write(f"{name}\n")
    return 0


def remove(namespace: str, argv: list[str]) -> int:
    _, names = options(argv, {"--sync"})
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
        image = _image(state, argv[0])
        labels = image["labels"]
        for key, _, value in (pair.partition("=") for pair in argv[1:]):
            # An empty value removes the label.
            if value:
                labels[key] = value
            else:
                labels.pop(key, None)
        sys.stdout.write(_labels(image) + "\n")
    return 0


def _image(state: dict[str, Any], name: str) -> dict[str, Any]:
    if name not in state["images"]:
        raise Failure(f'image "{name}": not found')
    image: dict[str, Any] = state["images"][name]
    return image


def _labels(image: dict[str, Any]) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(image["labels"].items()))


def _parts(image: dict[str, Any]) -> list[dict[str, Any]]:
    """The descriptors of an image's configuration and layers. Raises Failure."""
    manifest = store.manifest(image)
    return [manifest["config"], *manifest["layers"]]


def _names(filters: list[str]) -> set[str] | None:
    """The names in `name==REF` filters; None if a filter is of another kind."""
    if not all(text.startswith("name==") and text != "name==" for text in filters):
        return None
    return {text.removeprefix("name==").strip('"') for text in filters}


def _size(size_bytes: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} GiB"


def _print_table(rows: list[list[str]]) -> None:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        sys.stdout.write(
            "".join(f"{cell:{width}} " for cell, width in zip(row, widths, strict=True)) + "\n"
        )
