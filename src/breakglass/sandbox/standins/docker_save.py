"""`docker save`: a real archive on standard output, laid out as docker 20.10 does it."""

import hashlib
import io
import json
import sys
import tarfile
from typing import Any

from breakglass.sandbox.standins.docker_store import configuration_file, layer_file, load, with_tag
from breakglass.sandbox.standins.state import Failure, unknown


def save(argv: list[str]) -> int:
    if option := next((argument for argument in argv if argument.startswith("-")), None) or (
        "" if argv else "(no image)"
    ):
        return unknown("docker", option)
    if sys.stdout.isatty():
        raise Failure("cowardly refusing to save to a terminal. Use the -o flag or redirect")
    tags = load()["tags"]
    wanted = {with_tag(name): tags.get(with_tag(name)) for name in argv}
    if None in wanted.values():
        raise Failure(
            f"Error response from daemon: reference does not exist: "
            f"{next(name for name, image_id in wanted.items() if image_id is None)}"
        )
    manifests: dict[str, Any] = {}
    written: dict[str, str] = {}
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.GNU_FORMAT) as archive:
        for reference, image_id in wanted.items():
            if image_id not in manifests:
                layers = save_layers(
                    archive,
                    json.loads(configuration_file(image_id).read_bytes())["rootfs"]["diff_ids"],
                    written,
                )
                add(archive, f"{image_id[7:]}.json", configuration_file(image_id).read_bytes())
                manifests[image_id] = {
                    "Config": f"{image_id[7:]}.json",
                    "RepoTags": [],
                    "Layers": layers,
                }
            manifests[image_id]["RepoTags"].append(reference)
        add(
            archive,
            "manifest.json",
            json.dumps(list(manifests.values()), separators=(",", ":")).encode() + b"\n",
        )
    return 0


def save_layers(
    archive: tarfile.TarFile, diff_ids: list[str], written: dict[str, str]
) -> list[str]:
    """The layout of docker 20.10: a directory for each layer, a link where the same bytes are in
    the archive already.
    """
    names, chain = [], ""
    for diff_id in diff_ids:
        parent, chain = chain, hashlib.sha256(f"{chain} {diff_id}".encode()).hexdigest()
        names.append(f"{chain}/layer.tar")
        if written.get(f"chain {chain}"):
            continue
        written[f"chain {chain}"] = "yes"
        directory = tarfile.TarInfo(chain)
        directory.type, directory.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(directory)
        add(archive, f"{chain}/VERSION", b"1.0")
        add(
            archive,
            f"{chain}/json",
            json.dumps({"id": chain} | ({"parent": parent} if parent else {})).encode(),
        )
        member = tarfile.TarInfo(names[-1])
        if diff_id in written:
            member.type, member.linkname = tarfile.SYMTYPE, f"../{written[diff_id]}"
            archive.addfile(member)
        else:
            written[diff_id] = names[-1]
            member.size, member.mode = layer_file(diff_id).stat().st_size, 0o644
            with layer_file(diff_id).open("rb") as layer:
                archive.addfile(member, layer)
    return names


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o644
    archive.addfile(member, io.BytesIO(content))
