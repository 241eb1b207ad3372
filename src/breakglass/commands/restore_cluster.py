"""What restore does to the Node objects: it undoes our cordons and removes our annotations. It
leaves a cordon that somebody else has set since.
"""

from dataclasses import dataclass, replace

from breakglass.commands.restore_facts import Facts
from breakglass.marks import Mark
from breakglass.observe.cluster import Node
from breakglass.observe.pins import Hold, pin_held
from breakglass.plan import Host, PatchNode, title


@dataclass(frozen=True)
class Patches:
    first: tuple[PatchNode, ...]
    last: tuple[PatchNode, ...]
    """Each after its host is as before."""


def patches(facts: Facts, names: tuple[str, ...]) -> Patches:
    """One patch for each node; two where a node is uncordoned at once, and its host comes after
    that.
    """
    first = {node.name: _uncordon(facts, node) for node in facts.marked(names)}
    first |= {
        node.name: _uncordon(facts, node)
        for node in facts.unmarked(names)
        if node.cordon.is_ours is True and node.name not in facts.drained
    }
    last = []
    for node in facts.held(names):
        before = first[node.name].after if node.name in first else node.mark
        step = _release(facts, node, before)
        if step is None:
            continue
        if step.needs is not None:
            last.append(step)
        elif node.name in first:
            first[node.name] = replace(first[node.name], after=step.after)
        else:
            first[node.name] = step
    return Patches(tuple(first[name] for name in sorted(first)), tuple(last))


def _uncordon(facts: Facts, node: Node) -> PatchNode:
    stays = bool(why_it_stays(facts, node))
    verb = "remove our annotation from"
    if node.mark.unschedulable and not stays:
        verb = "uncordon"
    after = Mark(stays, None, node.mark.holds)
    return PatchNode(
        node.name, node.mark, after, node.resource_version, title=title(verb, node.name)
    )


def _release(facts: Facts, node: Node, before: Mark) -> PatchNode | None:
    """`breakglass/holds` is removed where the host is as before in the end, and after that. On
    the others it stays, but ends the pin.
    """
    site = next((site for site in facts.sites if site.host.name == node.name), None)
    needs: Host | None = None
    if site is not None and not any(file.is_edited for file in site.taken.files):
        verb, holds = "remove our mark from", None
        needs = None if site.is_clean else site.host
    elif (pin := pin_held(node.mark)) is not None:
        verb, holds = "end the pin to", Hold(pin.run, pin.by, pin.at).text()
    else:
        return None
    return PatchNode(
        node.name,
        before,
        replace(before, holds=holds),
        node.resource_version,
        title=title(verb, node.name),
        needs=needs,
    )


def why_it_stays(facts: Facts, node: Node) -> str:
    """Why a node that we cordoned stays cordoned; empty: it does not."""
    if not node.mark.unschedulable:
        return ""
    if node.cordon.is_ours is False:
        return (
            f"{node.name} stays cordoned: {node.cordon.manager or 'somebody'} has cordoned it "
            f"again after our pin ({node.cordon.at or 'time not known'}); if nobody works on it: "
            f"kubectl uncordon {node.name}"
        )
    if node.name in facts.drained:
        return (
            f"{node.name} stays cordoned: somebody drained it after our pin, only pods of "
            f"DaemonSets are left on it; if nobody works on it: kubectl uncordon {node.name}"
        )
    return ""


def left_cordoned(facts: Facts, names: tuple[str, ...]) -> list[str]:
    """A sentence for each node that stays cordoned, though we have cordoned it once."""
    reasons = [why_it_stays(facts, node) for node in facts.marked(names)]
    return [*filter(None, reasons), *(unclear(node) for node in unclear_nodes(facts, names))]


def unclear_nodes(facts: Facts, names: tuple[str, ...]) -> list[Node]:
    """Nodes that we have cordoned, whose annotation somebody has removed, and of which the API
    does not say whose cordon it is now; or that may have been drained since.
    """
    return [
        node
        for node in facts.unmarked(names)
        if node.cordon.is_ours is None
        or (node.cordon.is_ours is True and node.name in facts.drained)
    ]


def unclear(node: Node) -> str:
    return (
        f"{node.name} is cordoned, and our annotation is gone; a run from this machine had "
        f"cordoned it; if nobody works on it: kubectl uncordon {node.name}"
    )
