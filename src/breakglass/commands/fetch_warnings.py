"""What is doubtful about a tarball, its source or its transport."""

from collections.abc import Iterator

from breakglass.commands.fetch_facts import Facts
from breakglass.commands.fetch_options import Option, designated
from breakglass.commands.order import is_later, last_taken
from breakglass.commands.signed import distrust


def doubts(facts: Facts, option: Option, tag: str | None, at: str) -> Iterator[str]:
    shelf, tarball = option.shelf, option.tarball
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
        passed_over = designated(other, tag)
        error = distrust(passed_over, other.host) if passed_over else None
        if error is not None:
            yield f"{error.message}; it is not used"
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
