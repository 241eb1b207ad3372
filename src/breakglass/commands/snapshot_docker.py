"""The steps of snapshot by which docker pulls and saves images, and what a failed pull means."""

from collections.abc import Mapping

from breakglass.commands.snapshot_facts import Facts
from breakglass.commands.tarball_steps import archive, canonical
from breakglass.errors import AGAIN, BreakglassError, Next, Refused, Unreachable, look_first, then
from breakglass.observe.shelf import Shelf, Tarball
from breakglass.plan import Argv, Host, Purpose, Run, Step, title
from breakglass.ports import Result as Ended
from breakglass.ports import said

SAVE_QUIET_SECONDS = 300.0
"""The classic store first writes the whole image into the data-root before it prints a byte."""
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


def save_with_docker(
    facts: Facts,
    file: str,
    pulled: tuple[str, ...],
    copies: Mapping[str, Tarball],
    proof: Argv,
) -> tuple[Run, ...]:
    """`pulled`: the image, and the companions that docker can have from their registries;
    `copies`: the tarballs that have the others.
    """
    # First, for a copy of this very tag may be in the tarball.
    loads = (load_companions(facts.shelf, tarball) for tarball in dict.fromkeys(copies.values()))
    pulling = (step for reference in pulled for step in pulls(facts, reference))
    return (*loads, *pulling, _save(facts, file, (*pulled, *copies), proof))


def _save(facts: Facts, file: str, references: tuple[str, ...], proof: Argv) -> Run:
    # About as much as the last time: nobody can say before it is compressed.
    about = next((tarball.size_bytes for tarball in facts.shelf.verified), None)
    wants_platform = facts.docker is not None and facts.docker.save_wants_platform
    platform = ("--platform", facts.machine.platform) if wants_platform else ()
    companions = tuple(word for reference in references[1:] for word in ("--companion", reference))
    options = ("--reference", references[0], *companions, *proof, *platform)
    look = facts.vm.by_hand("docker", "info")
    return Run(
        facts.vm,
        (
            ("docker", "save", *platform, *references),
            ("pigz",) if "pigz" in facts.machine.commands else ("gzip",),
            archive("write", facts.shelf.directory, file, *options),
        ),
        quiet_seconds=SAVE_QUIET_SECONDS,
        total_bytes=about,
        title=title("save", file),
        purpose=Purpose.TRANSFERS,
        repair=then(
            look,
            AGAIN,
            advice="try again; if it stays so, see whether docker pulls through a mirror",
        ),
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


def check_docker_room(facts: Facts, newest_bytes: int) -> None:
    """The classic store's save first writes the whole image into the data-root; the containerd
    store lies in containerd's directory. `newest_bytes`: the size of the newest tarball.
    """
    docker = facts.docker
    if docker is None or docker.free_bytes is None:
        return
    if docker.containerd_root:
        # Saving writes nothing there; pulling at least what is in a tarball.
        needed = newest_bytes if facts.local_size_bytes is None else 0
        what = "pulling writes at least"
    else:
        needed = facts.local_size_bytes or 0
        what = "saving first writes"
    if docker.free_bytes < needed:
        raise Refused(
            (
                f"no room for docker in {docker.directory} on {facts.vm}: "
                f"{mb(docker.free_bytes)} free, {what} {mb(needed)} there"
            ),
            next_step=how_to_make_room(facts),
        )


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


def mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.0f} MB"
