"""snapshot: get the image, verify, publish, re-point `latest`, rotate; on the registry VM."""

from dataclasses import dataclass, replace
from functools import partial

from breakglass.commands import ownership, snapshot_docker, snapshot_registry
from breakglass.commands.directory_steps import enter
from breakglass.commands.environment import Environment, Identity
from breakglass.commands.job import Job
from breakglass.commands.order import believed, is_later, last_taken
from breakglass.commands.snapshot_companions import chosen_via, is_read_from_registry
from breakglass.commands.snapshot_facts import (
    AUTO,
    Facts,
    Missing,
    is_published,
    observe,
    observe_again,
)
from breakglass.commands.snapshot_save import save
from breakglass.commands.snapshot_warnings import companion_warnings, doubts
from breakglass.commands.tarball_steps import publish, removal, repoint, tidying
from breakglass.config import Image, RegistryVm
from breakglass.errors import AGAIN, BreakglassError, Refused, look_first, then
from breakglass.observe.shelf import Tarball
from breakglass.plan import Plan, Purpose, Run, Step, title
from breakglass.ports import Result

DOCKER_QUIET_SECONDS = 300.0
"""docker prints nothing while it deletes the layers."""


@dataclass(frozen=True)
class SnapshotResult:
    tag: str
    image_id: str | None
    sha256: str | None
    size_bytes: int | None
    removed: tuple[str, ...]
    """Tags that the rotation removed."""
    via: str | None
    """`registry` or `docker`; None where the tarball was there already."""


def job(
    environment: Environment, *, tag: str, via: str = AUTO, missing: tuple[Missing, ...] = ()
) -> Job[Facts]:
    """`missing`: what an earlier attempt of this run could not have."""
    config = environment.config
    return Job(
        observe=partial(observe, environment, tag=tag, via=via, missing=missing),
        decide=partial(
            plan, image=config.image, settings=config.registry_vm, identity=environment.identity
        ),
        observe_again=partial(observe_again, environment, saved=False),
        observe_after=partial(observe_again, environment, saved=True),
        state=state,
        explain=explain,
    )


def explain(facts: Facts, step: Step, ended: Result) -> BreakglassError | None:
    """What it means that the image could not be had; None: for any other step."""
    if is_read_from_registry(facts, step):
        return snapshot_registry.explain(facts, ended)
    return snapshot_docker.explain(step, ended, facts=facts)


def plan(facts: Facts, *, image: Image, settings: RegistryVm, identity: Identity) -> Plan:
    """Raises Refused, Unreachable or Integrity where it cannot be done."""
    shelf, file = facts.shelf, image.tarball(facts.tag)
    ownership.check(facts.machine)
    _check_names(facts, file)
    _check_directory(facts)
    present = shelf.find(facts.tag)
    is_done = is_published(facts, present)
    saving = _finishing(facts, present) if is_done else save(facts, image, identity)
    newest = _newest_good(facts, at=identity.at) if is_done else facts.tag
    pointing: tuple[Step, ...] = ()
    if newest is not None and shelf.latest != newest:
        pointing = repoint(facts.vm, shelf.directory, shelf.name, image.tarball(newest))
    discarding = tidying(shelf, but=None if is_done else file)
    # By then `latest` means the newest: what it meant before may go, in a run that was cut short
    # between the two as well.
    pointed = facts if newest is None else replace(facts, shelf=replace(shelf, latest=newest))
    rotating = tuple(
        step
        for tarball in rotation(pointed, keep=settings.keep, adding=not is_done, at=identity.at)
        for step in (*_docker_removal(facts, image, tarball.tag), removal(shelf, tarball))
    )
    warnings = (*doubts(facts, at=identity.at), *companion_warnings(facts))
    steps = (*discarding, *saving, *pointing, *rotating)
    goal = (
        f"{facts.vm}:{shelf.directory}/{file} is verified and published; latest is {newest}; the "
        f"newest {settings.keep} stay"
    )
    if not steps:
        return Plan(goal, warnings=companion_warnings(facts))
    # Not private: another user may copy the tarballs to the fallbacks.
    entering = enter(facts.vm, shelf.directory, identity, present=shelf.present, private=False)
    return Plan(
        goal,
        (*entering, *steps),
        warnings=warnings,
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
                next_step=look_first(look, advice="see what it is, move it away, then try again"),
            )


def _check_directory(facts: Facts) -> None:
    """Raises Refused where the directory is gone and a fallback still has its tarballs: then its
    disk is not mounted, or somebody has to say that it is to begin anew.
    """
    shelf, vm = facts.shelf, facts.vm
    others = [other for other in facts.shelves[1:] if other.tarballs]
    if shelf.present or not others:
        return
    counts = ", ".join(f"{other.host} has {len(other.tarballs)}" for other in others)
    raise Refused(
        f"{shelf.directory} is not there on {vm}, but {counts} of its tarballs: is its disk "
        f"mounted?",
        next_step=then(
            vm.by_hand("findmnt", "--fstab"),
            vm.by_hand("mkdir", "-p", shelf.directory),
            AGAIN,
            advice=(
                "see whether a disk is missing; only if the directory is to begin anew, make it. "
                "Then try again"
            ),
        ),
    )


def _newest_good(facts: Facts, *, at: str) -> str | None:
    """The tag that `latest` is to mean. It never moves to a tarball that may be an older one."""
    good = [tarball for tarball in facts.shelf.verified if tarball.file not in facts.bad]
    if not good:
        return None
    # One with a time that is yet to come is not the newest, whatever its sequence.
    newest = next((tarball for tarball in good if believed(tarball, at)), good[0])
    current = next((tarball for tarball in good if tarball.tag == facts.shelf.latest), None)
    if current and newest.tag != facts.tag and believed(current, at):
        return (current if is_later(current, newest) else newest).tag
    return newest.tag


def rotation(facts: Facts, *, keep: int, adding: bool, at: str) -> tuple[Tarball, ...]:
    """The tarballs that go: verified ones beyond the newest `keep` whose content is good, oldest
    first; never what `latest` means or what was asked for, or what was taken last by its time.
    """
    others = [
        tarball for tarball in facts.shelf.verified if not (adding and tarball.tag == facts.tag)
    ]
    good = int(adding)
    gone = []
    last = last_taken((other for other in others if other.file not in facts.bad), at=at)
    for tarball in others:
        if tarball.file in facts.bad:
            continue
        if (
            good >= keep
            and tarball.tag != facts.tag
            and not _contradicts(tarball, others[0], last)
            and (adding or tarball.tag != facts.shelf.latest)
        ):
            gone.append(tarball)
        good += 1
    return tuple(reversed(gone))


def _docker_removal(facts: Facts, image: Image, tag: str) -> tuple[Step, ...]:
    """What `docker pull` has left for a tag that is no longer kept. It goes before the tarball: by
    that the next run knows that it is ours, if this one is cut short.
    """
    if not facts.local.has_unused(image.repository, tag):
        return ()
    reference = f"{image.repository}:{tag}"
    return (
        Run(
            facts.vm,
            (("docker", "image", "rm", reference),),
            quiet_seconds=DOCKER_QUIET_SECONDS,
            title=title("remove from docker", reference),
        ),
    )


def _contradicts(tarball: Tarball, newest: Tarball, last: Tarball | None) -> bool:
    """Whether it may be the newest tarball although its sequence is small: it was taken last, and
    later than the one with the largest sequence.
    """
    return tarball is last and is_later(tarball, newest)


def result(facts: Facts, done: Plan, *, before: Facts) -> SnapshotResult:
    """`before`: what the plan was made for."""
    tarball = facts.shelf.find(facts.tag)
    record = tarball.record if tarball else None
    is_saved = any(step.purpose is Purpose.TRANSFERS for step in done.steps)
    removals = {removal(before.shelf, each): each.tag for each in before.shelf.tarballs}
    return SnapshotResult(
        tag=facts.tag,
        image_id=record.image_id if record else None,
        sha256=record.sha256 if record else None,
        size_bytes=record.size_bytes if record else None,
        removed=tuple(removals[step] for step in done.steps if step in removals),
        via=chosen_via(before) if is_saved else None,
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
