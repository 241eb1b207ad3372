"""Whether a pull of one tag would succeed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from concurrent.futures import wait as wait_for
from typing import Any

from breakglass.remote.registries.answers import Answer, Ended, inert
from breakglass.remote.registries.manifests import DIGEST, read_descriptor, read_manifest
from breakglass.remote.registries.session import Session

INDEX_DEPTH = 3
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
VARIANTS = {"amd64": ("",), "arm64": ("", "v8"), "arm": ("v7", "", "v6", "v5")}
"""Which of an architecture's variants containerd takes, the best first."""


def look(
    session: Session, tag: str, architecture: str, answers: list[dict[str, Any]], position: int
) -> None:
    """Put the verdict about one tag where it belongs, unless that has been printed by then."""
    verdict: tuple[str, str, tuple[str, ...]] = ("serves", "", ())
    try:
        check_image(session, tag, architecture)
    except Ended as ended:
        verdict = (ended.state, ended.detail, ended.missing)
    except Exception as error:  # a registry that makes us fail must not hide the others
        verdict = (
            "unreachable",
            f"it answers in a way that cannot be judged: {type(error).__name__}",
            (),
        )
    state, detail, missing = verdict
    answers[position] = {
        **answers[position],
        "state": state,
        "detail": inert(session.without_token(detail)),
        "missing": list(dict.fromkeys(missing)),
    }


def check_image(session: Session, tag: str, architecture: str) -> None:
    """Returns where a pull of the tag would succeed; raises Ended where not."""
    document = top(session, tag)
    for _ in range(INDEX_DEPTH):
        if "manifests" not in document:
            check_blobs(session, [document["config"], *document["layers"]])
            return
        digest, size = read_descriptor(child_for(document["manifests"], architecture))
        answer = session.ask("GET", f"manifests/{digest}")
        if answer.status != 200:
            raise part_lost(answer.status, f"{digest}, its image for linux/{architecture}", digest)
        if size is not None and len(answer.body) != size:
            raise Ended(
                "broken",
                (
                    f"{digest}, its image for linux/{architecture}, has {len(answer.body)} bytes "
                    f"instead of {size}"
                ),
                digest,
            )
        document = read_manifest(answer.body, digest)
    raise Ended("broken", "its indexes are nested too deep")


def top(session: Session, tag: str) -> dict[str, Any]:
    """What a tag means. As containerd does it: HEAD by tag (GET where HEAD is not allowed), then
    GET by the digest that came back.
    """
    name = f"{session.repository}:{tag}"
    head = session.ask("HEAD", f"manifests/{tag}")
    if head.status == 405:
        head = session.ask("GET", f"manifests/{tag}")
    if head.status != 200:
        raise Ended(
            "lacks" if head.status == 404 else "unreachable", f"HTTP {head.status} for {name}"
        )
    promised, length = head.headers.get("Docker-Content-Digest"), length_of(head)
    if promised and not re.fullmatch(DIGEST, promised):
        raise Ended("broken", f"what it announces as the digest of {name} is none")
    answer = session.ask("GET", f"manifests/{promised or tag}")
    if answer.status != 200:
        raise part_lost(
            answer.status,
            f"{promised or name}, which it announced for {name}",
            *([promised] if promised else []),
        )
    digest = promised or f"sha256:{hashlib.sha256(answer.body).hexdigest()}"
    document = read_manifest(answer.body, digest)
    if length is not None and length != len(answer.body):
        raise Ended(
            "broken", f"{digest} has {len(answer.body)} bytes, announced were {length}", digest
        )
    return document


def check_blobs(session: Session, descriptors: list[Any]) -> None:
    needs = dict(read_descriptor(descriptor) for descriptor in descriptors)
    asked = {session.blob(digest): digest for digest in needs}
    lost: list[Ended] = []
    # What is known to be gone counts, also where the answer about another part does not come.
    done, late = wait_for(asked, timeout=session.left())
    for future, digest in asked.items():
        if future in done:
            try:
                lost += judge_blob(future.result(), digest, needs[digest])
            except Ended as ended:
                lost.append(ended)
    broken = [ended for ended in lost if ended.state == "broken"]
    if broken:
        words = "; ".join(ended.detail for ended in broken[:2]) + (
            f"; and {len(broken) - 2} more" if len(broken) > 2 else ""
        )
        raise Ended("broken", words, *(digest for ended in broken for digest in ended.missing))
    if lost:
        raise lost[0]
    if late:
        raise Ended("unreachable", session.no_answer)


def judge_blob(answer: Answer, digest: str, size: int | None) -> Iterator[Ended]:
    length = length_of(answer)
    if answer.status != 200:
        yield part_lost(answer.status, digest, digest)
    elif size is not None and length is not None and length != size:
        yield Ended("broken", f"{digest} has {length} bytes instead of {size}", digest)


def part_lost(status: int, what: str, *missing: str) -> Ended:
    # 502 to 504 speak of the server in front, not of the image.
    return (
        Ended("unreachable", f"HTTP {status} for {what}")
        if status in (502, 503, 504)
        else Ended("broken", f"HTTP {status} for {what}", *missing)
    )


def child_for(children: list[Any], architecture: str) -> Any:
    """The child that containerd would take. One without a platform is the last resort; attestations
    are for unknown/unknown.
    """
    wanted = ARCHITECTURES.get(architecture, architecture)
    ranked: list[tuple[int, int]] = []
    for position, child in enumerate(children):
        platform = child.get("platform") if isinstance(child, dict) else None
        variants = VARIANTS.get(wanted, ("",))
        if not isinstance(platform, dict):
            ranked.append((len(variants), position))
        elif (
            platform.get("os") == "linux"
            and ARCHITECTURES.get(str(platform.get("architecture")), platform.get("architecture"))
            == wanted
        ):
            variant = platform.get("variant") or ""
            ranked += [(variants.index(variant), position)] if variant in variants else []
    if not ranked:
        raise Ended("broken", f"its index has no image for linux/{architecture}")
    return children[min(ranked)[1]]


def length_of(answer: Answer) -> int | None:
    length = answer.headers.get("Content-Length", "")
    return int(length) if re.fullmatch("[0-9]{1,18}", length) else None
