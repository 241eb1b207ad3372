"""The command `archive write`."""

from __future__ import annotations

import argparse
import os
from typing import Any

from breakglass.remote.archive.docker import Docker, agrees
from breakglass.remote.archive.documents import strict
from breakglass.remote.archive.images import Image
from breakglass.remote.archive.index import reached
from breakglass.remote.archive.names import READABLE, Names, open_regular
from breakglass.remote.archive.partial import removing_on_failure
from breakglass.remote.archive.records import keep, new_record, seed_of
from breakglass.remote.archive.references import canonical
from breakglass.remote.archive.stream import chunks_of
from breakglass.remote.archive.tar import Content
from breakglass.remote.archive.transfer import Checker, pump
from breakglass.remote.archive.verdict import describe, judge
from breakglass.remote.faults import FAILED, INTEGRITY, Fault


def write(arguments: argparse.Namespace) -> dict[str, Any]:
    """Standard input, from docker save, into the partial."""
    names = Names(arguments.directory, arguments.file)
    seed = seed_of(arguments.record, arguments.file)
    docker = Docker(arguments.docker, arguments.platform)
    ids = {
        canonical(name): docker.image_id(name) for name in arguments.reference + arguments.companion
    }
    names.remove(names.partial_record, names.partial_signature, names.note)
    sink = open_regular(names.partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    with removing_on_failure(names):
        checker = Checker(Fault(FAILED, "docker save wrote nothing; nothing was saved"))
        size_bytes, sha256 = pump(chunks_of(0), sink=sink, checker=checker)
        content = checker.finish()
        images = judge(content, arguments.reference + arguments.companion)
        confirm(
            content,
            images,
            docker=docker,
            ids=ids,
            wanted={canonical(name): image_id for name, image_id in arguments.image_id},
        )
        described = describe(images, arguments.reference, arguments.companion)
        record = new_record(seed, described, size_bytes=size_bytes, sha256=sha256)
        return keep(names, sink, record, READABLE)


def confirm(
    content: Content,
    images: dict[str, Image],
    *,
    docker: Docker,
    ids: dict[str, str],
    wanted: dict[str, str],
) -> None:
    """The images of the archive are those of the registry and of docker. `ids`: docker's own IDs;
    `wanted`: the image IDs that the registry gave, where it could be asked. Raises Fault.
    """
    for name, image in images.items():
        if wanted.get(name, image.image_id) != image.image_id:
            raise Fault(
                INTEGRITY,
                (
                    f"{image.spelled} in the archive is {image.image_id}, the registry's is "
                    f"{wanted[name]}: docker may have pulled it from a mirror that serves an old "
                    f"tag (registry-mirrors in daemon.json)"
                ),
            )
        if name not in wanted and not is_of_docker(content, images, name, docker, ids[name]):
            raise Fault(
                INTEGRITY,
                f"{image.spelled} in the archive is {image.image_id}, docker's is {ids[name]}",
            )


def is_of_docker(
    content: Content, images: dict[str, Image], name: str, docker: Docker, docker_id: str
) -> bool:
    """Whether docker calls this very image by this name."""
    image = images[name]
    if docker_id == image.image_id or image.image_id in reached(content, docker_id, images):
        return True
    if docker.platform is None:
        return False
    # With the containerd store docker's ID may be the digest of an index, which `docker save
    # --platform` leaves out of the archive. Then layers and settings are compared.
    path = image.image_id.replace("sha256:", "blobs/sha256/")
    configuration = strict(content, path, dict)
    return agrees(docker.description(name), configuration, image.diff_ids)
