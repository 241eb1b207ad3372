"""What each source offers to a drill, and what is wrong with it."""

from dataclasses import dataclass

from breakglass.age import age_in_words, age_seconds
from breakglass.commands.check_advice import SAVE_A_BUILD
from breakglass.commands.drill_facts import Facts
from breakglass.commands.fetch_options import Option, designated
from breakglass.commands.signed import distrust
from breakglass.config import REGISTRY_VM
from breakglass.errors import BreakglassError, Integrity, Next, Refused, joined, then
from breakglass.observe.record import Record
from breakglass.observe.shelf import Shelf, Tarball
from breakglass.text import inert


@dataclass(frozen=True)
class Candidate:
    """What a source offers."""

    source: str
    option: Option | None
    fault: BreakglassError | None = None
    """Why it is not drilled, or what is wrong with it although it is drilled."""
    warnings: tuple[str, ...] = ()

    @property
    def record(self) -> Record | None:
        return self.option.tarball.record if self.option else None

    @property
    def is_tried(self) -> bool:
        """Whether there is a whole tarball with its record. A tarball that is only too old is
        tried as well.
        """
        return self.option is not None and self.option.tarball.verified


def candidate_of(facts: Facts, source: str, *, at: str, max_age_hours: float) -> Candidate:
    """What `fetch` would take from a source, and what is wrong with it. `at`: the time of this
    run.
    """
    shelves = (shelf for shelf in facts.reach.sources if shelf.host.name == source)
    shelf = next(shelves, None)
    if shelf is None:
        return Candidate(source, None, _unread(facts, source))
    tarball = designated(shelf, None)
    if tarball is None:
        return Candidate(source, None, _no_tarball(shelf))
    return Candidate(
        source,
        Option(shelf, tarball, "node" if facts.reach.node_reaches(source) else "operator"),
        _fault(shelf, tarball, at=at, max_age_hours=max_age_hours),
        (f"{shelf.path_of_latest} {shelf.latest_fault}",) if shelf.latest_fault else (),
    )


def renewal(shelf: Shelf, bad: Tarball | None = None) -> Next:
    """What brings a good, new tarball to a source; `bad`: the tarball that is to be replaced."""
    if shelf.host.name == REGISTRY_VM:
        return then(f"breakglass snapshot --tag {bad.tag}") if bad else SAVE_A_BUILD
    mirror = f"let the job that mirrors the VM to {shelf.host} run"
    if bad is None:
        return then(advice=f"{mirror}.")
    remove = shelf.host.by_hand("rm", shelf.path(bad))
    return then(remove, advice=f"remove the bad copy there; then {mirror}.")


def _unread(facts: Facts, source: str) -> BreakglassError:
    for unread in facts.reach.unread:
        if unread.name == source:
            return unread.error
    return Refused(f"{source} was not asked", where=source)


def _no_tarball(shelf: Shelf) -> Refused:
    where = shelf.directory if shelf.present else f"{shelf.directory}, which is not there"
    look = shelf.host.by_hand("ls", "-la", shelf.directory)
    return Refused(f"no tarball in {where}", next_step=joined([renewal(shelf), then(look)]))


def _fault(
    shelf: Shelf, tarball: Tarball, *, at: str, max_age_hours: float
) -> BreakglassError | None:
    record = tarball.record
    error = distrust(tarball, shelf.host, next_step=renewal(shelf, tarball))
    if error is not None:
        return error
    if record is None:
        return Refused(
            f"{tarball.file} has no complete sidecar, so it is not known what should be in it; "
            f"fetch would still take it, after a full verification",
            next_step=renewal(shelf, tarball),
        )
    if record.size_bytes != tarball.size_bytes:
        return Integrity(
            f"{tarball.file} has {tarball.size_bytes} bytes, its sidecar says {record.size_bytes}",
            next_step=renewal(shelf, tarball),
        )
    age = age_seconds(record.created_at, at)
    if age is not None and age <= max_age_hours * 3600:
        return None
    created_at = inert(record.created_at)
    if age is None:
        taken = f"{created_at}, which is no moment, or yet to come: then a clock is wrong"
    else:
        taken = f"{created_at}, {age_in_words(age)} ago"
    return Refused(
        f"{tarball.file} was taken {taken}; status.max_age_hours allows {max_age_hours:g}",
        next_step=renewal(shelf),
    )
