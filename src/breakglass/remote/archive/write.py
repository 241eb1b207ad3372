"""The command `archive write`."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
from typing import Any

from breakglass.remote.archive.images import Image
from breakglass.remote.archive.index import reached
from breakglass.remote.archive.names import Names, open_regular
from breakglass.remote.archive.partial import removing_on_failure
from breakglass.remote.archive.records import keep, seed_of
from breakglass.remote.archive.references import IMAGE_ID, canonical
from breakglass.remote.archive.stream import chunks_of
from breakglass.remote.archive.tar import Content
from breakglass.remote.archive.transfer import Checker, pump
from breakglass.remote.archive.verdict import describe, judge
from breakglass.remote.faults import FAILED, INTEGRITY, REFUSED, Fault


def write(arguments: argparse.Namespace) -> dict[str, Any]:
    """Standard input, from docker save, into the partial."""
    names = Names(arguments.directory, arguments.file)
    seed = seed_of(arguments.record, arguments.file)
    docker_ids = {
        canonical(name): asked_of_docker(arguments.docker, name)
        for name in arguments.reference + arguments.companion
    }
    names.remove(names.partial_record, names.note)
    sink = open_regular(names.partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    with removing_on_failure(names):
        checker = Checker(Fault(FAILED, "docker save wrote nothing; nothing was saved"))
        size_bytes, sha256 = pump(chunks_of(0), sink=sink, checker=checker)
        content = checker.finish()
        images = judge(content, arguments.reference + arguments.companion)
        confirm(
            content,
            images,
            docker_ids=docker_ids,
            wanted={
                canonical(name): digest
                for name, _, digest in (text.rpartition("=") for text in arguments.image_id)
            },
        )
        record = {
            "schema": 1,
            **seed,
            **describe(images, arguments.reference, arguments.companion),
            "size_bytes": size_bytes,
            "sha256": sha256,
        }
        return keep(names, sink, record)


def confirm(
    content: Content,
    images: dict[str, Image],
    *,
    docker_ids: dict[str, str],
    wanted: dict[str, str],
) -> None:
    """The images of the archive are those of docker and of the registry. Raises Fault."""
    for name, image in images.items():
        if wanted.get(name, image.image_id) != image.image_id:
            raise Fault(
                INTEGRITY,
                (
                    f"{image.spelled} in the archive is {image.image_id}, the registry's is "
                    f"{wanted[name]}"
                ),
            )
        # With containerd's store docker prints the digest of a manifest or an index. Where
        # `--platform` left that index out of the archive it leads nowhere: then the image ID that
        # the registry gave is the proof.
        if (
            docker_ids[name] != image.image_id
            and image.image_id not in reached(content, docker_ids[name], images)
            and name not in wanted
        ):
            raise Fault(
                INTEGRITY,
                f"{image.spelled} in the archive is {image.image_id}, docker's is "
                f"{docker_ids[name]}",
            )


def asked_of_docker(docker: str, name: str) -> str:
    try:
        ended = subprocess.run(
            [docker, "image", "inspect", "--format", "{{.Id}}", name],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Fault(
            REFUSED,
            (
                f"{docker} does not run here: "
                f"{getattr(error, 'strerror', None) or 'it did not answer in 60 seconds'}"
            ),
        ) from error
    image_id = ended.stdout.decode("utf-8", "replace").strip()
    if ended.returncode or not re.fullmatch(IMAGE_ID, image_id):
        raise Fault(
            REFUSED,
            (
                f"docker does not report the image ID of {name}: "
                f"{ended.stderr.decode('utf-8', 'replace').strip() or image_id}"
            ),
        )
    return image_id
