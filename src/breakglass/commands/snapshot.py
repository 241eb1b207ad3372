"""snapshot: pull, save, compress, verify, publish, re-point `latest`, rotate. All of it on the
registry VM.
"""

from dataclasses import dataclass, replace
from functools import partial

from breakglass.commands import Environment, Identity, enter, publish, removal, repoint, tidying
from breakglass.commands.job import Job
from breakglass.commands.snapshot_facts import Facts, is_published, observe, observe_again
from breakglass.commands.snapshot_save import explain, save
from breakglass.config import Image, RegistryVm
from breakglass.errors import Refused
from breakglass.observe.shelf import Tarball
from breakglass.plan import Plan, Step


@dataclass(frozen=True)
class SnapshotResult:
    tag: str
    image_id: str | None
    sha256: str | None
    size_bytes: int | None
    removed: tuple[str, ...]
    """Tags that the rotation removed."""


def job(environment: Environment, *, tag: str) -> Job[Facts]:
    config = environment.config
    return Job(
        observe=partial(observe, environment, tag=tag),
        decide=partial(
            plan, image=config.image, settings=config.registry_vm, identity=environment.identity
        ),
        observe_again=partial(observe_again, environment, saved=False),
        observe_after=partial(observe_again, environment, saved=True),
        state=state,
        explain=lambda facts, step, ended: explain(step, ended, facts=facts),
    )


def plan(facts: Facts, *, image: Image, settings: RegistryVm, identity: Identity) -> Plan:
    """Raises Refused, Unreachable or Integrity where it cannot be done."""
    shelf, file = facts.shelf, image.tarball(facts.tag)
    _check_names(facts, file)
    present = shelf.find(facts.tag)
    is_done = is_published(facts, present)
    saving = _finishing(facts, present) if is_done else save(facts, image, identity)
    newest = _newest_good(facts) if is_done else facts.tag
    pointing: tuple[Step, ...] = ()
    if newest is not None and shelf.latest != newest:
        pointing = repoint(facts.vm, shelf.directory, shelf.name, image.tarball(newest))
    discarding = tidying(shelf, but=None if is_done else file)
    # By then `latest` means the newest: what it meant before may go, in a run that was cut short
    # between the two as well.
    pointed = facts if newest is None else replace(facts, shelf=replace(shelf, latest=newest))
    rotating = tuple(
        removal(shelf, tarball)
        for tarball in rotation(pointed, keep=settings.keep, adding=not is_done)
    )
    steps = (*discarding, *saving, *pointing, *rotating)
    goal = (
        f"{facts.vm}:{shelf.directory}/{file} is verified and published; latest is {newest}; the "
        f"newest {settings.keep} stay"
    )
    if not steps:
        return Plan(goal)
    return Plan(
        goal,
        (*enter(facts.vm, shelf.directory, identity, present=shelf.present), *steps),
        warnings=_warnings(facts),
    )


def _check_names(facts: Facts, file: str) -> None:
    """Raises Refused where the name of `latest` or of the tarball is taken by something else."""
    shelf, vm = facts.shelf, facts.vm
    for name, path, kind in (
        (shelf.latest_file, shelf.path_of_latest, "link"),
        (file, f"{shelf.directory}/{file}", "regular file"),
    ):
        if name in shelf.foreign:
            look = vm.by_hand("ls", "-la", path)
            raise Refused(
                f"{path} on {vm} is not a {kind}",
                next_step=f"see what it is, then move it away: {look}",
            )


def _newest_good(facts: Facts) -> str | None:
    good = (tarball.tag for tarball in facts.shelf.verified if tarball.file not in facts.bad)
    return next(good, None)


def rotation(facts: Facts, *, keep: int, adding: bool) -> tuple[Tarball, ...]:
    """The tarballs that go: verified ones beyond the newest `keep` whose content is good, oldest
    first; never what `latest` means or what was asked for.
    """
    others = [
        tarball for tarball in facts.shelf.verified if not (adding and tarball.tag == facts.tag)
    ]
    good = int(adding)
    gone = []
    for tarball in others:
        if tarball.file in facts.bad:
            continue
        if (
            good >= keep
            and tarball.tag != facts.tag
            and (adding or tarball.tag != facts.shelf.latest)
        ):
            gone.append(tarball)
        good += 1
    return tuple(reversed(gone))


def result(facts: Facts, done: Plan, *, before: Facts) -> SnapshotResult:
    """`before`: what the plan was made for."""
    tarball = facts.shelf.find(facts.tag)
    record = tarball.record if tarball else None
    removals = {removal(before.shelf, each): each.tag for each in before.shelf.tarballs}
    return SnapshotResult(
        tag=facts.tag,
        image_id=record.image_id if record else None,
        sha256=record.sha256 if record else None,
        size_bytes=record.size_bytes if record else None,
        removed=tuple(removals[step] for step in done.steps if step in removals),
    )


def state(facts: Facts) -> str:
    """What the shelf holds, for the error block."""
    shelf = facts.shelf
    count = len(shelf.verified)
    return (
        f"On {facts.vm}: {count} verified tarball{'' if count == 1 else 's'}; latest "
        f"{'is ' + shelf.latest if shelf.latest else shelf.latest_fault}."
    )


def _finishing(facts: Facts, present: Tarball | None) -> tuple[Step, ...]:
    """A replacement that was cut short after the rename: its sidecars are still those of the
    tarball that is gone.
    """
    if present is None or not present.being_replaced:
        return ()
    return (publish(facts.vm, facts.shelf.directory, present.file),)


def _warnings(facts: Facts) -> tuple[str, ...]:
    unasked = [
        (
            f"{reference}: the registry could not be asked from here what the tag is now "
            f"({served.detail})"
        )
        for reference, served in facts.published
        if served.image_id is None
    ]
    bad = [
        (
            f"{facts.shelf.directory}/{file}: its content is not what its sidecar says; it does "
            f"not count and is left alone"
        )
        for file in sorted(facts.bad)
    ]
    return (*unasked, *bad)
