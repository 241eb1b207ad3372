"""What is known of a node that is, or is not, to serve the image locally."""

from dataclasses import dataclass, replace

from breakglass.commands.environment import Environment
from breakglass.commands.hosts_toml_reading import endpoints, registry_of
from breakglass.errors import Refused
from breakglass.observe.answering import (
    Answering,
    Site,
    Taken,
    read_answering,
    read_taken,
    read_unpacking,
)
from breakglass.observe.containerd_config import BY_DEFAULT, Unpacking
from breakglass.observe.pulls import Pull, read_pulls
from breakglass.plan import Host
from breakglass.registry import State


@dataclass(frozen=True)
class Answers:
    taken: Taken
    answering: Answering | None = None
    """None: the node is not to serve the image locally."""
    pulls: tuple[Pull, ...] = ()
    """What the registries do, asked from the node."""
    unpacking: Unpacking = BY_DEFAULT
    """How the CRI plugin unpacks images: read with what else its configuration says."""

    def why_first(self, registry: str) -> str:
        """Why the node comes before this registry in hosts.toml; empty: the registry has just
        served the image whole, so it comes before the node.

        Pulls are in containerd's order: the mirrors, then the registry. Of each name the first
        that has the tag decides, because containerd waits for one that hangs.
        """
        pulls = [pull for pull in self.pulls if pull.registry == registry]
        deciding: dict[str, Pull] = {}
        for pull in pulls:
            if pull.state is not State.LACKS:
                deciding.setdefault(pull.name, pull)
        unserved = [pull for pull in deciding.values() if pull.state is not State.SERVES]
        if deciding and not unserved:
            return ""
        if not pulls:
            return "it could not be asked"
        pull = (unserved or pulls)[0]
        return f"{pull.state}: {pull.detail}" if pull.detail else str(pull.state)


def read_answers(
    environment: Environment,
    host: Host,
    names: tuple[str, ...],
    *,
    architecture: str,
    wanted: bool,
    pulls: tuple[Pull, ...] | None = None,
) -> Answers:
    """`wanted`: the node is to serve the image locally. `pulls`: what the registries answered
    before; they are not asked again.
    """
    nodes = environment.config.nodes
    directory, certs = nodes.directory, nodes.registry_config
    if not names:
        return Answers(read_taken(environment.hosts, host, directory, certs=certs))
    if not wanted:
        taken, unpacking = read_unpacking(
            environment.hosts, host, directory, certs=certs, ctr=environment.ctr
        )
        return Answers(taken, unpacking=unpacking)
    registries = tuple(dict.fromkeys(registry_of(name) for name in names))
    taken, answering = read_answering(
        environment.hosts,
        host,
        directory,
        certs=certs,
        registries=registries,
        ctr=environment.ctr,
    )
    if pulls is None:
        environment.note(f"asking {', '.join(registries)} from {host}")
        questions = [
            question
            for site in answering.sites
            for question in _questions(site, taken, names, architecture)
        ]
        answers = read_pulls(environment.hosts, host, questions)
        pulls = tuple(_second_opinion(environment, pull, architecture) for pull in answers)
    return Answers(taken, answering, pulls, answering.unpacking)


def original_text(site: Site, taken: Taken) -> str | None:
    """The hosts.toml without our lines; None: there is none."""
    entry = taken.file(site.file)
    if entry and (entry.is_ours or entry.now is None):
        return entry.original
    return site.text


def _questions(
    site: Site, taken: Taken, names: tuple[str, ...], architecture: str
) -> list[dict[str, object]]:
    """What the node is to ask of the hosts that pulls of these names go to. Nothing where the file
    cannot be understood: the plan refuses it.
    """
    try:
        hosts = [] if site.fault else endpoints(site, original_text(site, taken))
    except Refused:
        return []
    if not hosts:
        return []
    tags: dict[str, list[str]] = {}
    for name in names:
        if registry_of(name) == site.registry:
            reference, _, tag = name.rpartition(":")
            tags.setdefault(reference.partition("/")[2], []).append(tag)
    return [
        {
            "registry": site.registry,
            "endpoints": hosts,
            "repository": repository,
            "tags": its_tags,
            "architecture": architecture,
        }
        for repository, its_tags in tags.items()
    ]


def _second_opinion(environment: Environment, pull: Pull, architecture: str) -> Pull:
    """A registry that refuses the node, which has no login, is asked from here, where there may be
    a login.
    """
    if pull.state is not State.REFUSES:
        return pull
    found = environment.look_at(pull.name, f"linux/{architecture}")
    if found.state not in (State.SERVES, State.BROKEN):
        return pull
    detail = f"asked from this machine, with its login: {found.detail or found.state}"
    return replace(pull, state=found.state, detail=detail, missing=found.missing)
