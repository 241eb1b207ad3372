"""Whether a pull of one tag would succeed."""

from __future__ import annotations

import unicodedata
from concurrent.futures import wait as wait_for
from typing import Any

from breakglass.remote.distribution.answers import NotServed, State
from breakglass.remote.distribution.manifests import INDEX_DEPTH, read_descriptor
from breakglass.remote.distribution.platforms import child_for
from breakglass.remote.distribution.pull import read_child, resolve
from breakglass.remote.registries.session import AnonymousSession

DETAIL_CHARACTERS = 299


def look(
    session: AnonymousSession,
    tag: str,
    architecture: str,
    answers: list[dict[str, Any]],
    position: int,
) -> None:
    """Put the verdict about one tag where it belongs, unless that has been printed by then."""
    verdict: tuple[str, str, tuple[str, ...]] = (State.SERVES, "", ())
    try:
        check_image(session, tag, architecture)
    except NotServed as not_served:
        verdict = (not_served.state, not_served.detail, not_served.missing)
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


def check_image(session: AnonymousSession, tag: str, architecture: str) -> None:
    """Returns where a pull of the tag would succeed; raises NotServed where not."""
    document = resolve(session, tag).content
    platform = f"linux/{architecture}"
    for _ in range(INDEX_DEPTH):
        if "manifests" not in document:
            check_blobs(session, [document["config"], *document["layers"]])
            return
        child = child_for(document["manifests"], platform)
        document = read_child(session, child, f"its image for {platform}").content
    raise NotServed(State.BROKEN, "its indexes are nested too deep")


def check_blobs(session: AnonymousSession, descriptors: list[Any]) -> None:
    """Raises NotServed unless bytes of all come, and all have their length."""
    asked = [session.blob(*read_descriptor(descriptor)) for descriptor in descriptors]
    lost: list[NotServed] = []
    # What is known to be gone counts, also where the answer about another part does not come.
    done, late = wait_for(asked, timeout=session.left())
    for future in dict.fromkeys(asked):
        try:
            if future in done:
                future.result()
        except NotServed as not_served:
            lost.append(not_served)
    broken = [not_served for not_served in lost if not_served.state is State.BROKEN]
    if broken:
        words = "; ".join(not_served.detail for not_served in broken[:2])
        if len(broken) > 2:
            words += f"; and {len(broken) - 2} more"
        raise NotServed(
            State.BROKEN, words, *(digest for not_served in broken for digest in not_served.missing)
        )
    if lost:
        raise lost[0]
    if late:
        raise NotServed(State.UNREACHABLE, session.no_answer)


def inert(text: str) -> str:
    """Text from elsewhere is data: one line, no control characters, no megabytes."""
    visible = (character for character in text if unicodedata.category(character) != "Cf")
    plain = "".join(character if character.isprintable() else " " for character in visible)
    line = " ".join(plain.split())
    return line if len(line) <= DETAIL_CHARACTERS else line[: DETAIL_CHARACTERS - 1] + "…"
