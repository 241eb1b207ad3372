"""`docker load`: an archive of `docker save` on standard input becomes images with their names."""

import gzip
import json
import posixpath
import sys
import tarfile

from breakglass.sandbox.standins.docker_store import changing, configuration_file, layer_file
from breakglass.sandbox.standins.state import Failure, sha256, unknown, write


def load_images(argv: list[str]) -> int:
    if argv:
        return unknown("docker", " ".join(argv))
    files, links = _read()
    names = {}
    for entry in json.loads(files.get("manifest.json", b"[]")):
        configuration = files[entry["Config"]]
        diff_ids = json.loads(configuration)["rootfs"]["diff_ids"]
        for path, diff_id in zip(entry["Layers"], diff_ids, strict=True):
            layer = _unpacked(files[links.get(path, path)])
            if sha256(layer) != diff_id:
                raise Failure(f"layer {path} is not {diff_id}")
            write(layer_file(diff_id), layer)
        write(configuration_file(sha256(configuration)), configuration)
        names.update(dict.fromkeys(entry["RepoTags"], sha256(configuration)))
    with changing() as state:
        state["tags"].update(names)
    sys.stdout.write("".join(f"Loaded image: {name}\n" for name in names))
    return 0


def _unpacked(layer: bytes) -> bytes:
    """docker loads compressed layers too."""
    return gzip.decompress(layer) if layer.startswith(b"\x1f\x8b") else layer


def _read() -> tuple[dict[str, bytes], dict[str, str]]:
    """Files, and where the links point."""
    files, links = {}, {}
    try:
        with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as archive:
            for member in archive:
                if member.issym():
                    directory = posixpath.dirname(member.name)
                    links[member.name] = posixpath.normpath(f"{directory}/{member.linkname}")
                elif (content := archive.extractfile(member)) is not None:
                    files[member.name] = content.read()
    except tarfile.TarError as error:
        raise Failure(f"Error processing tar file: {error}") from None
    return files, links
