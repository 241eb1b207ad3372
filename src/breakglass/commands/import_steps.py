"""The steps of an import that give names to images, and those that undo them."""

from dataclasses import dataclass

from breakglass.commands.containerd_steps import confirm
from breakglass.commands.import_facts import Facts
from breakglass.commands.import_names import BEFORE, keep_name, kept_name, tag, untag
from breakglass.commands.node_record import begin
from breakglass.config import Nodes
from breakglass.errors import then
from breakglass.observe.containerd import PINNED, Ctr
from breakglass.plan import Purpose, Run, Step, script, title

Undo = tuple[tuple[Step, Run], ...]
"""(step, what undoes it)."""


@dataclass(frozen=True)
class Naming:
    """How names come to mean the recorded images."""

    keeping: tuple[Run, ...]
    """What a name means now gets a private name first."""
    tagging: tuple[Run, ...]
    """Names that the tarball itself does not give."""
    undo: Undo


def names_to_give(facts: Facts, expected: dict[str, str]) -> list[str]:
    """Names that do not mean their recorded image yet, by its own digest where the tarball kept
    it, or whose image is not unpacked; where the node serves it, those as well whose blobs are not
    all there.
    """
    present, digests = facts.containerd, facts.digests
    serves = facts.answers.answering is not None
    return [
        name
        for name, image_id in expected.items()
        if present.image_ids.get(name) != image_id
        or (name in digests and present.targets.get(name) != digests[name])
        or name not in present.unpacked
        or (serves and name in present.incomplete)
    ]


def await_marks(
    facts: Facts, ctr: Ctr, expected: dict[str, str], given: list[str]
) -> tuple[Run, ...]:
    """containerd's CRI plugin has marked every name, so that kubelet sees it. `given`: the names
    that get an image now.
    """
    unseen = facts.containerd.unseen
    names = [*given, *(name for name in expected if name in unseen and name not in given)]
    if not names:
        return ()
    words = tuple(word for name in names for word in ("--name", name))
    line = script("marked", *words, "--", *ctr.line())
    return (
        Run(
            facts.node,
            (line,),
            purpose=Purpose.LOOKS,
            failed_next=then(
                f"kubectl get node {facts.node} -o wide",
                "breakglass recover",
                advice=(
                    "see which container runtime kubelet uses; where it is not containerd, or "
                    "containerd has its CRI plugin disabled, let breakglass choose another node"
                ),
            ),
            title="wait until kubelet sees the names",
        ),
    )


def source_name(facts: Facts, wanting: list[str]) -> str:
    """The name of the image that other names are tags of."""
    return next((name for name in facts.names if name not in wanting), facts.names[0])


def give_names(
    facts: Facts, ctr: Ctr, names: list[str], *, source: str, loaded: set[str], load: Run | None
) -> Naming:
    """`loaded`: the names that the step `load` gives; the others are tags of `source`."""
    keeping: list[Run] = []
    tagging: list[Run] = []
    undo: list[tuple[Step, Run]] = []
    for name in names:
        moving = load if load and name in loaded else tag(facts.node, ctr, source, name)
        if moving is not load:
            tagging.append(moving)
        targets, before = facts.containerd.targets, kept_name(name)
        if name not in targets and before not in targets:
            undo.append((moving, untag(facts.node, ctr, name)))
            continue
        keeps = moving
        if _is_to_be_kept(facts, name):
            keeps = tag(facts.node, ctr, name, before)
            keeping.append(keeps)
        undo.append((moving, tag(facts.node, ctr, before, name)))
        undo.append((keeps, untag(facts.node, ctr, before)))
    return Naming(tuple(keeping), tuple(tagging), tuple(undo))


def digests_to_give(facts: Facts) -> list[str]:
    """The names by digest that are not there yet."""
    targets = facts.containerd.targets
    return [name for name, digest in facts.by_digest.items() if targets.get(name) != digest]


def _is_to_be_kept(facts: Facts, name: str) -> bool:
    """Whether what the name means now has to get its private name. What an earlier import that was
    cut short has kept is replaced, unless the image is not whole now.
    """
    targets, before = facts.containerd.targets, kept_name(name)
    if name not in targets or targets.get(before) == targets[name]:
        return False
    return before not in targets or bool(facts.containerd.image_ids.get(name))


def names_to_remove(facts: Facts, wanting: list[str]) -> list[str]:
    """The private names of what names meant before, which go when the import has succeeded."""
    targets = facts.containerd.targets
    present = {name for name in targets if name.startswith(BEFORE)}
    return sorted(present | {kept_name(name) for name in wanting if name in targets})


def keep_images(facts: Facts, expected: dict[str, str], source: str, ctr: Ctr) -> tuple[Step, ...]:
    """Each image has a private name that carries the label; it stays whatever happens to the
    other names.
    """
    present, digests = facts.containerd, facts.digests
    images = {expected[source]: source}
    for name, image_id in expected.items():
        images.setdefault(image_id, name)
    steps: list[Step] = []
    for image_id, name in images.items():
        keep = keep_name(image_id)
        is_other = name in digests and present.targets.get(keep) != digests[name]
        if present.image_ids.get(keep) != image_id or is_other or keep not in present.unpacked:
            steps += [
                tag(facts.node, ctr, name, keep),
                confirm(facts.machine, ctr, keep, image_id),
            ]
        elif keep in present.pinned:
            continue
        line = ctr.line("images", "label", keep, PINNED)
        steps.append(Run(facts.node, (line,), title=title("label", keep)))
    return tuple(steps)


def record_import(facts: Facts, ctr: Ctr, nodes: Nodes) -> tuple[Run, ...]:
    """The first change on a node: what is changed after it is undone by `restore`."""
    is_recorded = facts.answers.taken.is_recorded
    return () if is_recorded else (begin(facts.node, nodes.directory, ctr),)
