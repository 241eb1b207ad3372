"""An image that a node's containerd still has whole: import uses it if no host has a tarball."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from breakglass.commands.environment import Environment, Unread
from breakglass.commands.fetch_facts import NODES_SECONDS, read_other_nodes
from breakglass.commands.fetch_facts import Facts as FetchFacts
from breakglass.commands.fetch_options import designated
from breakglass.commands.fitness import needs_of, unfit
from breakglass.commands.node_machine import read_node
from breakglass.commands.node_sources import check_other, other_nodes
from breakglass.commands.record_names import fault_of_names
from breakglass.config import Image
from breakglass.deadline import together
from breakglass.errors import BreakglassError, Failed, Integrity, Refused, then, with_tag
from breakglass.observe.cluster import Node
from breakglass.observe.containerd import Ctr
from breakglass.observe.content import VERIFY_QUIET_SECONDS, Content, read_content, verify_line
from breakglass.observe.machine import Machine
from breakglass.observe.shelf import Shelf
from breakglass.plan import Host, Purpose, Run, title


@dataclass(frozen=True)
class Adoption:
    """What a node's containerd has of the image under a tag."""

    tag: str
    repository: str
    contents: tuple[Content, ...] = ()
    """Of each name with this tag that containerd has."""
    elsewhere: str = ""
    """A host that has a tarball of the tag; empty: none that was reached."""

    @property
    def image(self) -> Content | None:
        """The image that is taken; None: containerd has none that is whole."""
        return next((content for content in self.contents if content.is_whole), None)

    def names(self, image: Image) -> tuple[str, ...]:
        """Every name that pods use; the one that is taken comes first."""
        if self.image is None:
            return ()
        return tuple(dict.fromkeys((self.image.name, *image.names(self.tag))))


def tagged_names(image: Image, tag: str) -> tuple[str, ...]:
    """The names that have this tag. A name that always has another tag may mean another image."""
    fixed = {name for name in image.also_known_as if "{tag}" not in name}
    return tuple(name for name in image.names(tag) if name not in fixed or name.endswith(f":{tag}"))


def read_adoption(environment: Environment, machine: Machine, tag: str | None) -> Adoption:
    """Without a tag: what the node has under `latest`. Raises Unreachable, or Refused."""
    wanted = tag or "latest"
    try:
        contents = read_content(
            environment.hosts,
            machine.host,
            environment.ctr,
            names=tagged_names(environment.config.image, wanted),
            platform=machine.platform,
        )
    except Failed as error:  # nothing was begun that could have failed part-way
        raise Refused(error.message, next_step=error.next_step) from error
    return Adoption(wanted, environment.config.image.repository, contents)


def tarball_elsewhere(environment: Environment, node: Host, tag: str | None) -> str:
    """The first source, or the first other node, that has a tarball; empty: none was reached."""
    sources = environment.sources
    environment.note(f"looking at {', '.join(host.name for host, _ in sources)}")
    answers = together([partial(environment.source, *source) for source in sources])
    for answer in answers:
        if isinstance(answer, Unread):  # it may have one
            environment.warn(str(answer))
    shelves = [answer for answer in answers if isinstance(answer, Shelf)]
    image = environment.config.image
    return _first_with(image, shelves, tag) or _first_with(
        image, read_other_nodes(environment, node), tag
    )


def is_whole(environment: Environment, machine: Machine, tag: str | None) -> bool:
    """Whether the node could adopt the image: every blob of it is read. Never raises."""
    try:
        image = read_adoption(environment, machine, tag).image
        if image is None or image.image_id is None:
            return False
        line = verify_line(environment.ctr, image.name, image.image_id, machine.platform)
        return environment.hosts.ask(machine.host, line, quiet_seconds=VERIFY_QUIET_SECONDS).ok
    except BreakglassError:
        return False


def nodes_with_image(
    environment: Environment, node: Host | None, tag: str | None
) -> tuple[str, ...]:
    """This node and the others that fit, whose containerd has the image whole by the sizes of its
    blobs.
    """
    needs = needs_of(environment.config.nodes)
    places, cluster = other_nodes(environment, node)
    unsuited = {each.name for each in cluster if unfit(needs, node=each)}
    others = (host for host, _ in places if host.name not in unsuited)
    hosts = (*((node,) if node else ()), *others)
    environment.note(f"asking containerd on {', '.join(host.name for host in hosts)}")
    answers = together(
        [partial(_is_right_and_has_image, environment, host, cluster, tag) for host in hosts],
        seconds=NODES_SECONDS,
    )
    return tuple(host.name for host, has_it in zip(hosts, answers, strict=True) if has_it)


def _is_right_and_has_image(
    environment: Environment, host: Host, cluster: tuple[Node, ...], tag: str | None
) -> bool:
    try:
        check_other(environment, host, cluster)
    except BreakglassError:
        return False
    return has_image(environment, host, tag)


def has_image(environment: Environment, host: Host, tag: str | None) -> bool:
    """Whether its containerd has the image whole, by the sizes of its blobs. Never raises. The host
    was compared with the node before.
    """
    try:
        return read_adoption(environment, read_node(environment, host), tag).image is not None
    except BreakglassError:
        return False


def instead_of_fetch(
    environment: Environment,
    facts: FetchFacts,
    *,
    tag: str | None,
    error: BreakglassError,
    command: str,
) -> BreakglassError:
    """The error of a fetch, with the nodes where nothing has to be fetched: nobody has a tarball
    that can be used, and these have the image whole.
    """
    is_bad = isinstance(error, Integrity)
    good = [each for each in facts.shelf.tarballs if each.file not in facts.bad]
    own = replace(facts.shelf, tarballs=tuple(good))
    # What the sources offer was tried, and is bad.
    shelves = (own,) if is_bad else (own, *facts.sources)
    if facts.is_named or any(offers(environment.config.image, each, tag) for each in shelves):
        return error
    names = nodes_with_image(environment, facts.node, tag)
    if not names:
        return error
    # Before it is read, a bad tarball looks like a good one: import would want to have it fetched.
    insist = " --anyway" if is_bad and command == "import" else ""
    return error.replaced(
        next_step=then(
            with_tag(f"breakglass {command} {names[0]}", tag) + insist,
            advice=(
                f"nothing has to be fetched: containerd on {', '.join(names)} has the image whole"
            ),
        )
    )


def check_blobs(node: Host, ctr: Ctr, image: Content, platform: str) -> Run:
    """The step that reads every blob of the image and compares its digest."""
    return Run(
        node,
        (verify_line(ctr, image.name, image.image_id or "", platform),),
        VERIFY_QUIET_SECONDS,
        total_bytes=image.size_bytes,
        title=title("check every blob of", image.name),
        purpose=Purpose.LOOKS,
        repair=then(
            "breakglass import",
            f"breakglass fetch {node}",
            advice=(
                "another node may have the image: import chooses it. Else bring back a source of "
                "tarballs and fetch"
            ),
        ),
    )


def offers(image: Image, shelf: Shelf, tag: str | None) -> bool:
    """Whether `fetch` would take a tarball from there: one that an allowed signer has signed, and
    whose names are those of the configuration.
    """
    tarball = designated(shelf, tag)
    others = shelf.verified if tag is None else ()
    return any(
        each.trusted and fault_of_names(image, shelf, each) is None
        for each in (*((tarball,) if tarball else ()), *others)
    )


def _first_with(image: Image, shelves: Sequence[Shelf], tag: str | None) -> str:
    having = (shelf.host.name for shelf in shelves if offers(image, shelf, tag))
    return next(having, "")
