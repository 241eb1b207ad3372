"""The verdict that closes an import: which pods start on the node now, which do not, and why
not.
"""

from dataclasses import dataclass

from breakglass.commands.environment import Environment
from breakglass.commands.hosts_toml_reading import registry_of
from breakglass.commands.image_names import repository_of
from breakglass.commands.import_facts import Facts
from breakglass.commands.pull_again import FIRST as KEEPS_RECORDS
from breakglass.commands.pull_again import PullAgain, pulls_again, spellings_of
from breakglass.commands.verdict_names import NameVerdict, judge, pulled_again, starting
from breakglass.errors import BreakglassError
from breakglass.grammar import full_reference
from breakglass.observe.cluster import Node, Pod, read_pods
from breakglass.observe.containerd import honours_pinned
from breakglass.observe.pull_records import PullRecords, read_pull_records
from breakglass.text import inert, version_numbers

HEEDS_PINNED = ((1, 25, 14), (1, 26, 9), (1, 27, 6), (1, 28, 2))
"""The first kubelet of each minor version whose image garbage collection heeds the label
(kubernetes#119986 and its cherry picks); every later minor does.
"""
NO_RECORDS = PullRecords()


@dataclass(frozen=True)
class Cluster:
    """What the API says of the node and of pods that wait."""

    kubelet: str = ""
    """Version of the node's kubelet; empty: not known."""
    waiting: tuple[Pod, ...] = ()
    """Pods that have not started, and are bound to no other node."""
    unread: str = ""


def read_cluster(
    environment: Environment, node: str, *, nodes: tuple[Node, ...] | None = None
) -> Cluster:
    """Never raises: the verdict is given with the API down as well. `nodes`: the cluster, where it
    was read already; the pods that wait are read now.
    """
    kubelet = ""
    try:
        found = next(
            (
                found
                for found in (environment.nodes() if nodes is None else nodes)
                if node in (found.name, *found.addresses)
            ),
            None,
        )
        kubelet, name = (inert(found.kubelet), found.name) if found else ("", node)
        waiting = tuple(
            pod
            for pod in read_pods(environment.cluster)
            if pod.pending and pod.node in (None, name)
        )
    except BreakglassError as error:
        return Cluster(kubelet, unread=error.message)
    return Cluster(kubelet, waiting)


def read_records(environment: Environment, facts: Facts, cluster: Cluster) -> PullRecords:
    """What the node's kubelet remembers of the images. Never raises."""
    version = version_numbers(cluster.kubelet)
    if version is not None and version[:2] < KEEPS_RECORDS:
        return PullRecords()
    expected = facts.expected
    return read_pull_records(
        environment.hosts,
        facts.node,
        environment.config.nodes.kubelet_directory,
        image_ids=tuple(dict.fromkeys(expected.values())),
        names=spellings_of(tuple(expected)),
    )


def verdict(
    facts: Facts, cluster: Cluster, *, before: Facts, records: PullRecords = NO_RECORDS
) -> tuple[str, ...]:
    """`before`: what there was before the import."""
    expected = facts.expected
    pulls = _pulls(facts, cluster, records)
    answers = facts.answers.answering is not None
    return (
        f"Pods that start on {facts.node} now, by image and imagePullPolicy:",
        *starting(by_name(facts, cluster, records)),
        *pulled_again(facts.node.name, pulls, records, kubelet=cluster.kubelet, answers=answers),
        *(_always(facts, tuple(expected)) if answers else _never()),
        *_no_longer(tuple(expected), before),
        *_by_digest(facts),
        *_collection(facts, cluster),
        *_lacking(facts, cluster),
    )


def _by_digest(facts: Facts) -> tuple[str, ...]:
    """What containerd has pulled itself keeps the registry's digest, and its name with it, as a
    tarball of the registry's own bytes does.
    """
    if facts.adopted is None and not facts.by_digest:
        return ("By digest no pod starts: docker save changes the manifest's digest.",)
    repositories = {repository_of(name) for name in facts.names}
    digests = [
        name
        for name, target in sorted(facts.containerd.targets.items())
        if repository_of(name) in repositories and name.endswith(f"@{target}")
    ]
    if not digests:
        return ("By digest no pod starts: containerd has no name with the image's digest.",)
    return ("By digest, with IfNotPresent:", *(f"  {name}" for name in digests))


def by_name(facts: Facts, cluster: Cluster, records: PullRecords) -> tuple[NameVerdict, ...]:
    """For each name the pods that start on the node now."""
    answers = facts.answers.answering is not None
    return tuple(
        judge(name, pull, answers=answers) for name, pull in _pulls(facts, cluster, records).items()
    )


def _pulls(facts: Facts, cluster: Cluster, records: PullRecords) -> dict[str, PullAgain]:
    return {
        name: pulls_again(name, image_id, records, kubelet=cluster.kubelet)
        for name, image_id in facts.expected.items()
    }


def heeds_pinned(kubelet: str) -> bool | None:
    """Whether a kubelet's image garbage collection leaves images alone that containerd reports as
    pinned; None: the version is not known.
    """
    version = version_numbers(kubelet)
    if version is None:
        return None
    first = next((first for first in HEEDS_PINNED if first[:2] == version[:2]), None)
    return version >= first if first else version > HEEDS_PINNED[-1]


def _always(facts: Facts, names: tuple[str, ...]) -> tuple[str, ...]:
    assert facts.answers.answering
    answering = facts.answers.answering
    registries = sorted({registry_of(name) for name in names})
    first = [registry for registry in registries if facts.answers.why_first(registry)]
    after = [registry for registry in registries if registry not in first]
    rules = [
        *([f"before {' and '.join(first)}"] if first else []),
        *([f"after {' and '.join(after)}, which serves the image now"] if after else []),
    ]
    rebooted = (
        "It does so after a reboot too, until: breakglass restore"
        if answering.responder.survives_reboot
        else f"After a reboot of the node: breakglass import {facts.node}"
    )
    always = (
        f"Always is answered by {facts.node} itself (127.0.0.1:{answering.responder.port}): "
        f"{', '.join(rules)}. {rebooted}"
    )
    lines = [always]
    if first:
        lines.append(
            f"A tag of {' and '.join(first)} means this image on {facts.node} until "
            f"breakglass restore, also when the registry is back."
        )
    if answering.config_is_newer:
        lines.append(
            f"But {answering.config_file} was changed after containerd started: if "
            f"config_path was what changed, Always starts only after a restart of containerd."
        )
    return tuple(lines)


def _no_longer(names: tuple[str, ...], before: Facts) -> tuple[str, ...]:
    answered = before.answers.answering.responder.answers if before.answers.answering else {}
    gone = sorted(set(answered) - set(names))
    return (
        (f"No longer answered, nor kept, from an earlier import: {', '.join(gone)}",)
        if gone
        else ()
    )


def _never() -> tuple[str, ...]:
    return (
        (
            "A pod with Always (the default of :latest) does not start while its registry is "
            "gone: the node does not serve the image locally (--no-answer-pulls)."
        ),
        "Where the admission plugin AlwaysPullImages is on, every pod is one with Always.",
    )


def _collection(facts: Facts, cluster: Cluster) -> tuple[str, ...]:
    version = facts.containerd.version
    if not honours_pinned(version):
        return (
            (
                f"containerd {version} on {facts.node} cannot keep the image from kubelet's "
                f"image garbage collection (1.6.25 and 1.7.10 can): watch the disk, kubelet "
                f"deletes unused images from 85 % on."
            ),
        )
    heeds = heeds_pinned(cluster.kubelet)
    if heeds is False:
        return (
            (
                f"kubelet {cluster.kubelet} on {facts.node} does not heed that the image is "
                f"pinned in containerd (1.25.14, 1.26.9, 1.27.6, 1.28.2 and later do): watch the "
                f"disk."
            ),
        )
    provided = "" if heeds else ", if the kubelet is 1.25.14, 1.26.9, 1.27.6, 1.28.2 or later"
    return (f"The image is kept from kubelet's image garbage collection{provided}.",)


def _lacking(facts: Facts, cluster: Cluster) -> tuple[str, ...]:
    if cluster.unread:
        return (f"Which other images waiting pods name is not known: {cluster.unread}",)
    lacking: dict[str, list[str]] = {}
    for pod in cluster.waiting:
        for image in dict.fromkeys(pod.images):
            if full_reference(image) not in facts.containerd.targets:
                lacking.setdefault(inert(image, limit=200), []).append(inert(str(pod)))
    if not lacking:
        return ()
    lines = tuple(
        f"  {image}: {', '.join(pods[:3])}{f' and {len(pods) - 3} more' if len(pods) > 3 else ''}"
        for image, pods in sorted(lacking.items())[:10]
    )
    more = (f"  and {len(lacking) - 10} more images",) if len(lacking) > 10 else ()
    return (
        (
            f"Waiting pods name images that {facts.node} does not have (image.companions brings "
            f"such images along):"
        ),
        *lines,
        *more,
    )
