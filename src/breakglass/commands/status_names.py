"""Which pods start on a node under each name, where an import has left something there."""

from dataclasses import replace

from breakglass.commands.environment import Environment
from breakglass.commands.pull_again import pulls_again, spellings_of
from breakglass.commands.status_facts import Seen
from breakglass.commands.verdict_names import NameVerdict, judge
from breakglass.observe.machine import Machine
from breakglass.observe.pull_records import PullRecords, read_pull_records


def read_verdicts(environment: Environment, machine: Machine, seen: Seen) -> Seen:
    """The kubelet there is asked only where its records can decide: an import has left the image,
    and the node does not serve it locally.
    """
    expected = _expected(environment, seen)
    if not expected:
        return seen
    if seen.answers_pulls:
        return replace(seen, verdicts=verdicts(seen, expected, PullRecords()))
    records = read_pull_records(
        environment.hosts,
        machine.host,
        environment.config.nodes.kubelet_directory,
        image_ids=tuple(dict.fromkeys(expected.values())),
        names=spellings_of(tuple(expected)),
    )
    return replace(seen, verdicts=verdicts(seen, expected, records))


def verdicts(seen: Seen, expected: dict[str, str], records: PullRecords) -> tuple[NameVerdict, ...]:
    """`expected`: name -> image ID. A name that the node serves locally need not be there."""
    answered = set(seen.responder.answers) if seen.answers_pulls and seen.responder else set()
    kubelet = seen.node.kubelet if seen.node else ""
    return tuple(
        NameVerdict(name, if_not_present=False, always=False)
        if name in (seen.missing or ()) and name not in answered
        else judge(
            name, pulls_again(name, image_id, records, kubelet=kubelet), answers=name in answered
        )
        for name, image_id in expected.items()
    )


def _expected(environment: Environment, seen: Seen) -> dict[str, str]:
    """Name -> image ID, of the tarball that `latest` means there; empty where no import left
    anything, or where it is not known what containerd has.
    """
    if seen.shelf is None or seen.missing is None or seen.taken is None or not seen.taken.is_begun:
        return {}
    tarball = seen.shelf.find(seen.shelf.latest) if seen.shelf.latest else None
    record = tarball.record if tarball else None
    if record is None:
        return {}
    names = environment.config.image.names(record.tag)
    return {**dict.fromkeys(names, record.image_id), **dict(record.companions)}
