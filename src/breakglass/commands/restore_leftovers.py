"""What restore leaves on the nodes and in the cluster, and what a person types about it."""

from breakglass.commands.node_record import edited
from breakglass.commands.restore_cluster import unclear, unclear_nodes
from breakglass.commands.restore_facts import Facts, Site
from breakglass.commands.rights import may_not_patch
from breakglass.config import Nodes
from breakglass.errors import (
    BreakglassError,
    Failed,
    Next,
    Unreachable,
    joined,
    then,
)
from breakglass.observe.answering import MARK
from breakglass.observe.containerd import Ctr
from breakglass.plan import Plan


def left_over(
    facts: Facts, done: Plan, *, names: tuple[str, ...], nodes: Nodes
) -> BreakglassError | None:
    """What could not be undone, though all that was planned was done. With names, a cluster that
    was not reached does not count.
    """
    unreached = [str(unread) for unread in facts.unread if unread not in facts.wrong_hosts]
    if facts.api and not names:
        unreached.append(f"the API: {facts.api.message}")
    # COMMAND's run knows what it has cordoned, so a cordon that is left is its own.
    uncordon = [] if facts.own is None else unclear_nodes(facts, names)
    sentences = [sentence for site in facts.sites for sentence in left_on_node(site, nodes)]
    sentences += left_alone(facts)
    if facts.may_patch is False and facts.marked(names):
        sentences.append(may_not_patch().message)
    sentences += [unclear(node) for node in uncordon]
    if not unreached and not sentences:
        return None
    not_reached = [f"not reached: {'; '.join(unreached)}"] if unreached else []
    message = "; ".join([*sentences, *not_reached])
    by_hand = [then(*(f"kubectl uncordon {node.name}" for node in uncordon))]
    if facts.api and not names:
        by_hand.append(facts.api.next_step)
    by_hand += [step for site in facts.sites for step in _to_type(site, nodes)]
    next_step = _then_again(facts, by_hand, names)
    # Without `sentences` there is something unreached.
    if not done.steps and not sentences and (facts.api is not None or not facts.sites):
        return Unreachable(message, next_step=next_step)
    state = "Nothing else was there to be restored."
    if done.steps:
        state = "All else was restored."
    return Failed(message, state=state, next_step=next_step)


def _then_again(facts: Facts, by_hand: list[Next], names: tuple[str, ...]) -> Next:
    """First what is done by hand. This may be the end of another command, so `restore` is named."""
    steps = joined([*by_hand, *(unread.error.next_step for unread in facts.wrong_hosts)])
    commands = list(steps.without_again.commands)
    advice = steps.advice or ("" if commands else "when that is up")
    commands.append(" ".join(["breakglass restore", *names]))
    if facts.wrong_hosts:
        commands.append(f"{commands[-1]} --anyway")
        advice += " --anyway is for the right machine that looks like another one"
    return then(*commands, advice=advice)


def left_alone(facts: Facts) -> list[str]:
    """That another machine answers in place of a node: why of the first, and the other nodes."""
    if not facts.wrong_hosts:
        return []
    first, *others = facts.wrong_hosts
    names = ", ".join(unread.name for unread in others)
    also = f"; so are the machines that answer for {names}" if others else ""
    return [f"{first}; that machine is left alone{also}"]


def left_on_node(site: Site, nodes: Nodes) -> list[str]:
    """What is on a node and is not undone by itself."""
    left = edited(site.host, site.taken) + [
        f"{site.host}:{file} holds lines of breakglass that no record in {nodes.directory} knows"
        for file in site.taken.strays
    ]
    if site.is_clean and site.names:
        left.append(
            f"containerd on {site.host} has names of breakglass that no record in "
            f"{nodes.directory} knows: {', '.join(site.names)}"
        )
    return left


def _to_type(site: Site, nodes: Nodes) -> list[Next]:
    """What to type for it."""
    steps = []
    if any(file.is_edited for file in site.taken.files):
        record = f"{nodes.directory}/.breakglass.json"
        steps.append(
            then(
                site.host.by_hand("rm", record),
                advice=f"correct the file (what was there before stands in {record})",
            )
        )
    steps += [
        then(
            site.host.by_hand("editor", file),
            advice=f"remove the lines that follow `{MARK}`.",
        )
        for file in site.taken.strays
    ]
    if site.is_clean and site.names:
        line = Ctr(nodes.ctr, nodes.namespace).line("images", "rm", *site.names)
        steps.append(then(site.host.by_hand(*line)))
    return steps
