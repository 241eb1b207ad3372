"""The steps of an import without a tarball: names for an image that containerd has."""

from breakglass.commands.adoption import check_blobs
from breakglass.commands.import_facts import Facts
from breakglass.commands.import_names import keep_name
from breakglass.commands.import_steps import (
    Undo,
    await_marks,
    give_names,
    names_to_give,
    record_import,
)
from breakglass.commands.node_record import end
from breakglass.config import Nodes
from breakglass.observe.containerd import Ctr
from breakglass.plan import Step


def adopting_steps(facts: Facts, ctr: Ctr, nodes: Nodes) -> tuple[tuple[Step, ...], Undo]:
    """(steps, undo): every name means the image. Its blobs are read before anything is changed."""
    image, node = facts.adopted, facts.node
    assert image is not None
    wanting = names_to_give(facts, facts.expected)
    is_kept = keep_name(image.image_id or "") in facts.containerd.targets
    naming = give_names(facts, ctr, wanting, source=image.name, loaded=set(), load=None)
    recording = record_import(facts, ctr, nodes)
    checking = (
        () if is_kept and not wanting else (check_blobs(node, ctr, image, facts.machine.platform),)
    )
    steps = (
        *checking,
        *recording,
        *naming.keeping,
        *naming.tagging,
        *await_marks(facts, ctr, facts.expected, wanting),
    )
    return steps, (*naming.undo, *((step, end(node, nodes.directory)) for step in recording))
