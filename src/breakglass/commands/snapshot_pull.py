"""The steps that bring images into docker on the registry VM, and what a failed pull means."""

from breakglass.commands.snapshot_facts import Facts
from breakglass.commands.tarball_steps import canonical
from breakglass.errors import BreakglassError, Next, Refused, Unreachable, look_first, then
from breakglass.observe.shelf import Shelf, Tarball
from breakglass.plan import Host, Purpose, Run, Step, title
from breakglass.ports import Result as Ended
from breakglass.ports import said

PULL_QUIET_SECONDS = 600.0
"""docker prints nothing while a layer comes in; a layer may be large and the line slow."""


def pulls(facts: Facts, reference: str) -> tuple[Run, ...]:
    """The first is docker's pull. Where the registry said what the tag means, it is pulled by that
    digest: a pull-through mirror may have an older image under the tag (docker/cli#4569).
    """
    vm = facts.vm
    digest = next((served.digest for name, served in facts.published if name == reference), None)
    # The containerd store would keep the reference by digest, and with it the image.
    if digest is None or facts.docker is None or facts.docker.containerd_root:
        return (_pull(vm, reference),)
    by_digest = f"{reference.rpartition(':')[0]}@{digest}"
    tagging = Run(
        vm,
        (("docker", "tag", by_digest, reference),),
        title=title("tag", reference),
        purpose=Purpose.PREPARES,
    )
    return (_pull(vm, by_digest), tagging)


def _pull(vm: Host, reference: str) -> Run:
    return Run(
        vm,
        (("docker", "pull", reference),),
        quiet_seconds=PULL_QUIET_SECONDS,
        title=title("pull", reference),
        purpose=Purpose.PREPARES,
    )


def load_companions(shelf: Shelf, tarball: Tarball) -> Run:
    """docker gets the images of a tarball: the companions among them are needed again."""
    return Run(
        shelf.host,
        (canonical(shelf, tarball), ("docker", "load")),
        quiet_seconds=PULL_QUIET_SECONDS,
        title=title("load the companions of", tarball.file),
        purpose=Purpose.PREPARES,
    )


def explain(step: Step, ended: Ended, *, facts: Facts) -> BreakglassError | None:
    """What a failed pull means. docker says the same words for a missing tag and for an index that
    lost its child: the registry was asked before.
    """
    pulled = {pulls(facts, reference)[0]: reference for reference, _ in facts.published}
    if step not in pulled:
        return None
    reference, words = pulled[step], said(ended)
    state = (
        "Nothing was changed: no tarball was touched. A copy that docker has locally was not used."
    )
    retry = then(f"breakglass check --tag {facts.tag}")
    if ended.exit_status is None:
        return Unreachable(
            f"docker pull {reference} did not end: {words}", state=state, next_step=retry
        )
    lowered = words.lower()
    if any(
        sign in lowered for sign in ("manifest unknown", "repository name not known")
    ) or lowered.endswith(": not found"):
        return Refused(
            f"the registry does not have {reference}: {words}", state=state, next_step=retry
        )
    if "no space left" in lowered:
        return Refused(
            f"docker pull {reference}: no room left on {facts.vm}: {words}",
            state=state,
            next_step=how_to_make_room(facts),
        )
    return Unreachable(f"docker pull {reference} failed: {words}", state=state, next_step=retry)


def how_to_make_room(facts: Facts) -> Next:
    """`docker image prune` would free nothing of ours: every image that was pulled has a tag."""
    repository = facts.published[0][0].rpartition(":")[0]
    kept = {tarball.tag for tarball in facts.shelf.tarballs} | {facts.tag, "latest"}
    old = [
        f"{repository}:{tag}"
        for tag in facts.local.tags
        if tag not in kept and facts.local.has_unused(repository, tag)
    ]
    if old:
        line = facts.vm.by_hand("docker", "image", "rm", *old[:10])
        return look_first(line, advice="make room; no tarball is kept of these images")
    line = facts.vm.by_hand("docker", "system", "df")
    return look_first(line, advice="make room; see what takes it")
