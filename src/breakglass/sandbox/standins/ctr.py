"""A stand-in for ctr of containerd 2.4: images and content of one host, kept in files as containerd
keeps its content.
"""

import os
import sys
from collections.abc import Callable

from breakglass.sandbox.standins import ctr_images as images
from breakglass.sandbox.standins import ctr_store as store
from breakglass.sandbox.standins.state import Failure, options, unknown

VERSION = "2.4.2+sandbox"
QUIET = (["-q"], ["--quiet"])


def main(argv: list[str]) -> int:
    namespace = os.environ.get("CONTAINERD_NAMESPACE", "default")
    while argv and argv[0].startswith("-"):
        option, equals, value = argv[0].partition("=")
        if option not in ("-n", "--namespace") or not (equals or argv[1:]):
            return unknown("ctr", argv[0])
        if equals:
            namespace, argv = value, argv[1:]
        else:
            namespace, argv = argv[1], argv[2:]
    for length in (1, 2):
        if command := COMMANDS.get(" ".join(argv[:length])):
            try:
                return command(namespace, argv[length:])
            except Failure as failure:
                sys.stderr.write(f"ctr: {failure}\n")
                return 1
    return unknown("ctr", " ".join(argv[:2]))


def import_images(namespace: str, argv: list[str]) -> int:
    # Imported here, since the modules that read archives take as long to load as all the rest.
    from breakglass.sandbox.standins import ctr_import

    return ctr_import.import_images(namespace, argv)


def pull_image(namespace: str, argv: list[str]) -> int:
    from breakglass.sandbox.standins import ctr_pull

    return ctr_pull.pull_image(namespace, argv)


def content_get(namespace: str, argv: list[str]) -> int:
    if len(argv) != 1 or argv[0].startswith("-"):
        return unknown("ctr", " ".join(argv))
    if argv[0] not in store.load(namespace)["content"]:
        raise Failure(f"content digest {argv[0]}: not found")
    sys.stdout.buffer.write(store.read(argv[0]))
    return 0


def content_ls(namespace: str, argv: list[str]) -> int:
    if argv not in QUIET:
        return unknown("ctr", " ".join(argv) or "(no -q)")
    sys.stdout.write("".join(f"{digest}\n" for digest in sorted(store.load(namespace)["content"])))
    return 0


def content_rm(namespace: str, argv: list[str]) -> int:
    if not argv or any(digest.startswith("-") for digest in argv):
        return unknown("ctr", " ".join(argv))
    with store.changing(namespace) as state:
        for digest in argv:
            if state["content"].pop(digest, None) is None:
                raise Failure(f"content digest {digest}: not found")
            sys.stdout.write(f"{digest}\n")
    return 0


def leases_ls(namespace: str, argv: list[str]) -> int:
    if argv not in QUIET:
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
    _, leases = options(argv, {"--sync"})
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
    if argv not in QUIET:
        return unknown("ctr", " ".join(argv) or "(no -q)")
    sys.stdout.write("".join(f"{name}\n" for name in store.namespaces()))
    return 0


def namespaces_rm(namespace: str, argv: list[str]) -> int:  # noqa: ARG001
    if not argv or any(name.startswith("-") for name in argv):
        return unknown("ctr", " ".join(argv))
    for name in argv:
        state = store.load(name)
        if state["images"] or state["content"] or state["snapshots"]:
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
        "Type:         io.containerd.content.v1\n"
        "ID:           content\n"
        "Exports:     \n"
        f"              root      {store.BLOBS.parent.parent}\n"
    )
    return 0


def version(namespace: str, argv: list[str]) -> int:  # noqa: ARG001
    if argv:
        return unknown("ctr", argv[0])
    facts = f"  Version:  {VERSION}\n  Revision: simulated\n"
    sys.stdout.write(
        f"Client:\n{facts}  Go version: none\n\n"
        f"Server:\n{facts}  UUID: 00000000-0000-0000-0000-000000000000\n"
    )
    return 0


COMMANDS: dict[str, Callable[[str, list[str]], int]] = {
    "images import": import_images,
    "images pull": pull_image,
    "images ls": images.ls,
    "images check": images.check,
    "images tag": images.tag,
    "images rm": images.remove,
    "images label": images.label,
    "content get": content_get,
    "content ls": content_ls,
    "content rm": content_rm,
    "leases ls": leases_ls,
    "leases create": leases_create,
    "leases rm": leases_rm,
    "namespaces ls": namespaces_ls,
    "namespaces rm": namespaces_rm,
    "plugins ls": plugins_ls,
    "version": version,
}
