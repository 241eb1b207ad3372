"""`docker pull`: fetches manifest, configuration and layers over plain HTTP into the store."""

import gzip
import http.client
import json
import re
import sys
from typing import Any

from breakglass.sandbox.standins.docker_store import changing, configuration_file, layer_file
from breakglass.sandbox.standins.state import Failure, architecture, options, sha256, unknown, write

ACCEPT = ", ".join(
    f"application/vnd.{kind}"
    for kind in (
        "oci.image.index.v1+json",
        "oci.image.manifest.v1+json",
        "docker.distribution.manifest.list.v2+json",
        "docker.distribution.manifest.v2+json",
    )
)
REFERENCE = re.compile(
    r"(?P<registry>[\w.-]+:\d+)/(?P<name>[a-z0-9._/-]+)"
    r"(?::(?P<tag>\w[\w.-]{0,127})|@(?P<digest>sha256:[0-9a-f]{64}))?"
)


def pull(argv: list[str]) -> int:
    quiet, names = options(argv, {"-q", "--quiet"})
    match = REFERENCE.fullmatch(names[0]) if len(names) == 1 else None
    if not match:
        return unknown("docker", " ".join(argv))
    registry, name, tag = match["registry"], match["name"], match["digest"] or match["tag"]
    tag = tag or "latest"
    reference = f"{registry}/{name}{'@' if match['digest'] else ':'}{tag}"
    fetch(registry, "/v2/")
    digest, manifest = get_manifest(registry, name, tag, reference=reference)
    if "manifests" in manifest:
        child = fitting_child(manifest)
        _, manifest = get_manifest(registry, name, child, reference=reference)
    image_id = manifest["config"]["digest"]
    configuration = get_blob(registry, name, image_id)
    diff_ids = json.loads(configuration)["rootfs"]["diff_ids"]
    for layer, diff_id in zip(manifest["layers"], diff_ids, strict=True):
        if not layer_file(diff_id).exists():
            pull_layer(registry, name, layer["digest"], diff_id)
    write(configuration_file(image_id), configuration)
    with changing() as state:
        known = state["by_digest"] if match["digest"] else state["tags"]
        is_known = known.get(reference) == image_id
        known[reference] = image_id
        if not match["digest"]:
            state["digests"][reference] = f"{registry}/{name}@{digest}"
    if not quiet:
        status = "Image is up to date" if is_known else "Downloaded newer image"
        sys.stdout.write(
            f"{tag}: Pulling from {name}\nDigest: {digest}\nStatus: {status} for {reference}\n"
        )
    sys.stdout.write(reference + "\n")
    return 0


def fitting_child(index: dict[str, Any]) -> str:
    """The digest of the manifest for this machine's architecture."""
    for child in index["manifests"]:
        if child.get("platform", {}).get("architecture") == architecture():
            return str(child["digest"])
    raise Failure(f"no matching manifest for linux/{architecture()} in the manifest list entries")


def pull_layer(registry: str, name: str, digest: str, diff_id: str) -> None:
    plain = gzip.decompress(get_blob(registry, name, digest))
    if sha256(plain) != diff_id:
        raise Failure(f"filesystem layer verification failed for digest {digest}")
    write(layer_file(diff_id), plain)


def get_manifest(
    registry: str, name: str, wanted: str, *, reference: str
) -> tuple[str, dict[str, Any]]:
    body = manifest_bytes(registry, name, wanted, reference=reference)
    return sha256(body), json.loads(body)


def manifest_bytes(registry: str, name: str, wanted: str, *, reference: str) -> bytes:
    status, body = fetch(registry, f"/v2/{name}/manifests/{wanted}")
    if status == 404:
        raise Failure(
            f"Error response from daemon: manifest for {reference} not found: manifest "
            f"unknown: manifest unknown"
        )
    if status != 200:
        raise Failure(f"Error response from daemon: received unexpected HTTP status: {status}")
    if wanted.startswith("sha256:") and sha256(body) != wanted:
        raise Failure(f"manifest verification failed for digest {wanted}")
    return body


def get_blob(registry: str, name: str, digest: str) -> bytes:
    status, body = fetch(registry, f"/v2/{name}/blobs/{digest}")
    if status == 404:
        raise Failure("unknown blob")
    if status != 200:
        raise Failure(f"received unexpected HTTP status: {status}")
    if sha256(body) != digest:
        raise Failure(f"filesystem layer verification failed for digest {digest}")
    return body


def fetch(registry: str, path: str) -> tuple[int, bytes]:
    try:
        connection = http.client.HTTPConnection(registry, timeout=20)
        connection.request("GET", path, headers={"Accept": ACCEPT})
        with connection.getresponse() as response:
            status, body = response.status, response.read()
        connection.close()
    except ConnectionRefusedError:
        raise Failure(
            f'Error response from daemon: Get "http://{registry}/v2/": dial tcp {registry}: '
            f"connect: connection refused"
        ) from None
    except (OSError, http.client.HTTPException) as error:
        raise Failure(
            f'Error response from daemon: Get "http://{registry}{path}": {error}'
        ) from None
    if status in (401, 403):
        denied = "denied: requested access to the resource is denied"
        why = "no basic auth credentials" if status == 401 else denied
        raise Failure(f'Error response from daemon: Head "http://{registry}{path}": {why}')
    return status, body
