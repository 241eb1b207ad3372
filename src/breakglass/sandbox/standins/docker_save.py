"""`docker save`: a real archive on standard output, laid out as docker 20.10 does it."""

import hashlib
import io
import json
import sys
import tarfile
from typing import Any

from breakglass.sandbox.standins.docker_store import configuration_file, layer_file, load, with_tag
from breakglass.sandbox.standins.state import Failure, refused_option, unknown


def save(argv: list[str]) -> int:
    if option := refused_option(argv):
        return unknown("docker", option)
    if sys.stdout.isatty():
        raise Failure("cowardly refusing to save to a terminal. Use the -o flag or redirect")
    tags = load()["tags"]
    image_ids: dict[str, str] = {}
    for reference in map(with_tag, argv):
        if reference not in tags:
            raise Failure(f"Error response from daemon: reference does not exist: {reference}")
        image_ids[reference] = tags[reference]
    manifests: dict[str, Any] = {}
    written: dict[str, str] = {}
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.GNU_FORMAT) as archive:
        for reference, image_id in image_ids.items():
            if image_id not in manifests:
                manifests[image_id] = save_image(archive, image_id, written)
            manifests[image_id]["RepoTags"].append(reference)
        manifest = json.dumps(list(manifests.values()), separators=(",", ":"))
        add(archive, "manifest.json", manifest.encode() + b"\n")
    return 0


def save_image(archive: tarfile.TarFile, image_id: str, written: dict[str, str]) -> dict[str, Any]:
    """Add an image. Returns its entry in manifest.json, without names."""
    configuration = configuration_file(image_id).read_bytes()
    layers = save_layers(archive, json.loads(configuration)["rootfs"]["diff_ids"], written)
    name = f"{image_id.removeprefix('sha256:')}.json"
    add(archive, name, configuration)
    return {"Config": name, "RepoTags": [], "Layers": layers}


def save_layers(
    archive: tarfile.TarFile, diff_ids: list[str], written: dict[str, str]
) -> list[str]:
    """Add the layers as docker 20.10 does: a directory for each, and a link in place of a layer
    whose bytes are in the archive already. `written` has the names of these. Returns the names of
    all layers.
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
        record = {"id": chain, "parent": parent} if parent else {"id": chain}
        add(archive, f"{chain}/json", json.dumps(record).encode())
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
