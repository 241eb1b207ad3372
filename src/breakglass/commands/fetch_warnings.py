"""What is doubtful about a tarball, its source or its transport."""

from collections.abc import Iterator

from breakglass.commands.fetch_facts import Facts
from breakglass.commands.fetch_options import Option, failures_of_records
from breakglass.commands.order import is_later, last_taken
from breakglass.config import Image


def doubts(facts: Facts, option: Option, image: Image, tag: str | None, at: str) -> Iterator[str]:
    shelf, tarball = option.shelf, option.tarball
    for error in failures_of_records(facts, image, tag).values():
        yield error.message
    if tarball.record is None:
        yield (
            f"{tarball.file} on {shelf.host} has no sidecars (made by the old pipeline): it is "
            f"accepted after a full verification only, and holds no companions"
        )
    elif not tarball.verified:
        yield (
            f"{tarball.file} on {shelf.host} has {tarball.size_bytes} bytes, its sidecar says "
            f"{tarball.record.size_bytes}"
        )
    for other in facts.sources:
        last = last_taken(other.verified, at=at) if tag is None else None
        if last is not None and is_later(last, tarball):
            yield (
                f"{other.host} has {last.file}, which was taken later: to have that one: "
                f"--tag {last.tag} --from {other.host}"
            )
    if shelf.latest_fault and shelf.present:
        yield f"{shelf.path_of_latest} on {shelf.host} {shelf.latest_fault}"
    login = facts.logins.get(shelf.host.name)
    if option.via == "operator" and login is not None and login.why_not:
        yield f"{login.why_not}; the tarball goes through this machine"
