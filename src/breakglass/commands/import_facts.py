"""What import reads: the node, its tarballs, its containerd and what answers its pulls."""

from dataclasses import dataclass, replace

from breakglass.commands.adoption import Adoption, read_adoption, tarball_elsewhere
from breakglass.commands.answering_facts import Answers, read_answers
from breakglass.commands.environment import Environment
from breakglass.commands.image_names import repository_of
from breakglass.commands.import_names import keep_name
from breakglass.commands.node_machine import read_node
from breakglass.commands.record_names import check_names
from breakglass.commands.target import Target
from breakglass.errors import AGAIN, Refused, then
from breakglass.observe.containerd import (
    Containerd,
    read_containerd,
    read_disk_of_content,
)
from breakglass.observe.content import Content
from breakglass.observe.machine import Disk, Machine
from breakglass.observe.shelf import Shelf, Tarball
from breakglass.plan import Host


@dataclass(frozen=True)
class Facts:
    node: Host
    how: str
    machine: Machine
    shelf: Shelf
    tarball: Tarball | None
    names: tuple[str, ...]
    """The names that the image gets; the first is the name in the tarball."""
    containerd: Containerd
    answers: Answers
    disk: Disk | None = None
    """Of containerd's content; None: not known."""
    anyway: bool = False
    """The operator goes on where the import would take too much room, or another host has a
    tarball.
    """
    adoption: Adoption | None = None
    """What containerd has already; None: the node has a tarball."""

    @property
    def adopted(self) -> Content | None:
        """The image that is taken as containerd has it; None: it comes from the tarball."""
        return self.adoption.image if self.adoption else None

    @property
    def expected(self) -> dict[str, str]:
        """Name -> image ID, of the image and its companions; the image's own names come first."""
        return _expected(self.tarball, self.adoption, self.names)

    @property
    def digests(self) -> dict[str, str]:
        """Name -> the digest that it has at the registry, where the tarball kept it."""
        record = self.tarball.record if self.tarball else None
        known = dict(record.digests) if record else {}
        own = known.get(record.references[0]) if record else None
        return {**(dict.fromkeys(self.names, own) if own else {}), **known}

    @property
    def by_digest(self) -> dict[str, str]:
        """The names by which pods ask for the image by digest -> that digest."""
        known = self.digests
        named = {name: known[name] for name in self.names if name in known}
        return {f"{repository_of(name)}@{digest}": digest for name, digest in named.items()}

    @property
    def image_id(self) -> str | None:
        return next(iter(self.expected.values()), None)


def observe(
    environment: Environment,
    target: Target,
    *,
    tag: str | None,
    answer_pulls: bool,
    shelf: Shelf | None = None,
    machine: Machine | None = None,
    searched: bool = False,
) -> Facts:
    """`shelf`: what the node's directory will be by then, where it is not to be read now.
    `machine`: the node's, where it was read already. `searched`: no source and no other node has a
    tarball.
    """
    return _observe(
        environment,
        target.host,
        target.how,
        tag=tag,
        answer_pulls=answer_pulls,
        before=None,
        shelf=shelf,
        machine=machine,
        searched=searched,
    )


def observe_again(
    environment: Environment, facts: Facts, *, tag: str | None, answer_pulls: bool
) -> Facts:
    """The node read anew; registries and sources are not asked again, so that one that comes or
    goes meanwhile changes no plan.
    """
    return _observe(
        environment,
        facts.node,
        facts.how,
        tag=tag,
        answer_pulls=answer_pulls,
        before=facts,
    )


def _expected(
    tarball: Tarball | None, adoption: Adoption | None, names: tuple[str, ...]
) -> dict[str, str]:
    record = tarball.record if tarball else None
    if record is not None:
        return {**dict.fromkeys(names, record.image_id), **dict(record.companions)}
    adopted = adoption.image if adoption else None
    return dict.fromkeys(names, adopted.image_id) if adopted and adopted.image_id else {}


def _observe(
    environment: Environment,
    host: Host,
    how: str,
    *,
    tag: str | None,
    answer_pulls: bool,
    before: Facts | None,
    shelf: Shelf | None = None,
    machine: Machine | None = None,
    searched: bool = False,
) -> Facts:
    environment.note(f"looking at {host} ({host.ssh})")
    machine = _with_programs(environment, machine or read_node(environment, host))
    shelf = shelf or environment.shelf(host, environment.config.nodes.directory)
    tarball, adoption, names = _read_image(environment, machine, shelf, tag)
    expected = _expected(tarball, adoption, names)
    answers = read_answers(
        environment,
        host,
        tuple(expected),
        architecture=machine.architecture,
        wanted=answer_pulls,
        pulls=before.answers.pulls if before else None,
    )
    facts = Facts(
        host,
        how,
        machine,
        shelf,
        tarball,
        names,
        _read_containerd(environment, machine, answers, expected),
        answers,
        read_disk_of_content(environment.hosts, host, environment.ctr),
        environment.anyway,
        adoption,
    )
    return facts if searched else _with_elsewhere(environment, facts, tag, before)


def _read_image(
    environment: Environment, machine: Machine, shelf: Shelf, tag: str | None
) -> tuple[Tarball | None, Adoption | None, tuple[str, ...]]:
    """The tarball, else what containerd has; and the names that the image gets."""
    image = environment.config.image
    wanted = tag if tag is not None else shelf.latest
    tarball = shelf.find(wanted) if wanted is not None else None
    if tarball is not None:
        check_names(image, shelf, tarball)
        return tarball, None, image.names(tarball.tag)
    if tag is None and shelf.verified:  # `latest` is no link: that is mended by fetch
        return None, None, ()
    adoption = read_adoption(environment, machine, tag)
    return None, adoption, adoption.names(image)


def _with_elsewhere(
    environment: Environment, facts: Facts, tag: str | None, before: Facts | None
) -> Facts:
    """Who else has a tarball. It is asked once, and not where the image was taken before."""
    is_kept = any(keep_name(each) in facts.containerd.targets for each in facts.expected.values())
    if facts.adoption is None or facts.adopted is None or is_kept:
        return facts
    if before and before.adoption:
        elsewhere = before.adoption.elsewhere
    else:
        elsewhere = tarball_elsewhere(environment, facts.node, tag)
    return replace(facts, adoption=replace(facts.adoption, elsewhere=elsewhere))


def _read_containerd(
    environment: Environment, machine: Machine, answers: Answers, expected: dict[str, str]
) -> Containerd:
    """Of the names that import gives, and of the private names that keep their images."""
    keeps = dict.fromkeys(keep_name(image_id) for image_id in expected.values())
    return read_containerd(
        environment.hosts,
        machine.host,
        replace(environment.ctr, unpacking=answers.unpacking),
        names=(*expected, *keeps),
        architecture=machine.architecture,
    )


def _with_programs(environment: Environment, machine: Machine) -> Machine:
    """The machine. Raises Refused where a program is missing that import runs there."""
    programs = ("python3", "bash", environment.config.nodes.ctr[0])
    missing = [program for program in programs if program not in machine.commands]
    if missing:
        raise Refused(
            f"{machine.host} has no {', '.join(missing)}",
            next_step=then(
                AGAIN,
                "breakglass import",
                advice=f"install it on {machine.host}, or let breakglass choose a node",
            ),
        )
    return machine
