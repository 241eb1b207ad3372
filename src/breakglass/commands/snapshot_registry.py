"""The step of snapshot by which the registry VM reads the image from the registry itself, and what
its failure means.
"""

from breakglass.commands.snapshot_facts import Facts
from breakglass.commands.tarball_steps import archive
from breakglass.config import registry_at
from breakglass.errors import AGAIN, BreakglassError, Next, Refused, Unreachable, then
from breakglass.plan import Argv, Purpose, Run, title
from breakglass.ports import NO_LOGIN
from breakglass.ports import Result as Ended
from breakglass.text import inert

READ_QUIET_SECONDS = 900.0
"""A registry that is silent is asked again a few times, with pauses; nothing is printed
meanwhile.
"""


def read_from_registry(facts: Facts, file: str, references: tuple[str, ...], proof: Argv) -> Run:
    """`references`: the image, then the companions. `proof`: what is compared, and the record."""
    first, *companions = (f"{each}={manifest_url(facts, each)}" for each in references)
    options = (
        *("--platform", facts.machine.platform, "--reference", first),
        *(word for companion in companions for word in ("--companion", companion)),
    )
    check = f"breakglass check --tag {facts.tag}"
    host, _, path = references[0].partition("/")
    return Run(
        facts.vm,
        (archive("pull", facts.shelf.directory, file, *options, *proof),),
        quiet_seconds=READ_QUIET_SECONDS,
        total_bytes=size_bytes(facts, references),
        title=title("copy", path, f" from {host}"),
        purpose=Purpose.TRANSFERS,
        repair=then(check, AGAIN, advice="see what the registry serves; push the image again"),
    )


def manifest_url(facts: Facts, reference: str) -> str:
    """The address of the manifest. It has the digest where that is known: then a tag that moves
    meanwhile does not matter.
    """
    host, _, path = reference.partition("/")
    repository, _, tag = path.rpartition(":")
    digest = next((served.digest for name, served in facts.published if name == reference), None)
    url = registry_at(host, repository, facts.registries).url
    return f"{url}/v2/{repository}/manifests/{digest or tag}"


def size_bytes(facts: Facts, references: tuple[str, ...]) -> int | None:
    """How large the tarball will be: its images' blobs are in it as they are; where the registry
    could not be asked, about as large as the newest tarball.
    """
    sizes = [served.size_bytes for name, served in facts.published if name in references]
    known = [size for size in sizes if size is not None]
    if len(known) == len(references):
        return sum(known)
    return facts.shelf.verified[0].size_bytes if facts.shelf.verified else None


def explain(facts: Facts, ended: Ended) -> BreakglassError | None:
    """What it means that the registry was not read; None: the exit status says it."""
    message = f"{facts.vm}: {sentence_of(ended)}"
    check = then(f"breakglass check --tag {facts.tag}", AGAIN)
    next_step = _log_in(facts) if NO_LOGIN in ended.stderr else check
    if ended.exit_status == Unreachable.exit_code:
        return Unreachable(message, next_step=next_step)
    if ended.exit_status == Refused.exit_code:
        by_docker = then(f"breakglass snapshot --tag {facts.tag} --via docker")
        return Refused(message, next_step=by_docker if facts.docker else next_step)
    return None


def sentence_of(ended: Ended) -> str:
    """What our script says of its failure."""
    return inert(ended.stderr.strip().rpartition(b"\n")[2].removeprefix(NO_LOGIN))


def _log_in(facts: Facts) -> Next:
    """The login of the VM's user is in a file, which docker writes."""
    host = facts.published[0][0].partition("/")[0]
    if facts.docker is not None:
        return then(facts.vm.by_hand("docker", "login", host, asks=True), AGAIN, advice="log in")
    look = facts.vm.by_hand("ls", "-l", ".docker/config.json")
    return then(look, AGAIN, advice=f"put the login for {host} into this file")
