"""What import reads: the node, its tarballs, its containerd and what answers its pulls."""

from dataclasses import dataclass

from breakglass.commands.answering_facts import Answers, read_answers
from breakglass.commands.environment import Environment
from breakglass.commands.import_names import keep_name
from breakglass.commands.node_machine import read_node
from breakglass.commands.target import Target
from breakglass.errors import AGAIN, Refused, then
from breakglass.observe.containerd import Containerd, read_containerd, read_disk_of_content
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
    """The operator goes on where the import would take too much room."""


def observe(
    environment: Environment,
    target: Target,
    *,
    tag: str | None,
    answer_pulls: bool,
    shelf: Shelf | None = None,
    machine: Machine | None = None,
) -> Facts:
    """`shelf`: what the node's directory will be by then, where it is not to be read now.
    `machine`: the node's, where it was read already.
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
    )


def observe_again(
    environment: Environment, facts: Facts, *, tag: str | None, answer_pulls: bool
) -> Facts:
    """The node read anew; the registries are not asked again, so that one that comes or goes
    meanwhile changes no plan.
    """
    return _observe(
        environment,
        facts.node,
        facts.how,
        tag=tag,
        answer_pulls=answer_pulls,
        before=facts.answers,
    )


def expected_images(tarball: Tarball | None, names: tuple[str, ...]) -> dict[str, str]:
    """Name -> image ID, of the image and its companions; the name that the tarball holds comes
    first.
    """
    record = tarball.record if tarball else None
    if record is None:
        return {}
    return {**dict.fromkeys(names, record.image_id), **dict(record.companions)}


def _observe(
    environment: Environment,
    host: Host,
    how: str,
    *,
    tag: str | None,
    answer_pulls: bool,
    before: Answers | None,
    shelf: Shelf | None = None,
    machine: Machine | None = None,
) -> Facts:
    environment.note(f"looking at {host} ({host.ssh})")
    nodes, image = environment.config.nodes, environment.config.image
    machine = machine or read_node(environment, host)
    _check_programs(environment, machine)
    shelf = shelf or environment.shelf(host, nodes.directory)
    wanted = tag if tag is not None else shelf.latest
    tarball = shelf.find(wanted) if wanted is not None else None
    names = image.names(tarball.tag) if tarball else ()
    expected = expected_images(tarball, names)
    containerd = _read_containerd(environment, machine, expected)
    answers = read_answers(
        environment,
        host,
        tuple(expected),
        architecture=machine.architecture,
        wanted=answer_pulls,
        pulls=before.pulls if before else None,
    )
    disk = read_disk_of_content(environment.hosts, host, environment.ctr)
    return Facts(
        host, how, machine, shelf, tarball, names, containerd, answers, disk, environment.anyway
    )


def _read_containerd(
    environment: Environment, machine: Machine, expected: dict[str, str]
) -> Containerd:
    """Of the names that import gives, and of the private names that keep their images."""
    keeps = dict.fromkeys(keep_name(image_id) for image_id in expected.values())
    return read_containerd(
        environment.hosts,
        machine.host,
        environment.ctr,
        names=(*expected, *keeps),
        architecture=machine.architecture,
    )


def _check_programs(environment: Environment, machine: Machine) -> None:
    """Raises Refused where a program is missing that import runs there."""
    programs = ("python3", "bash", "gzip", environment.config.nodes.ctr[0])
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
