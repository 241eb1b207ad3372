"""recover: the whole runbook as one plan, each part planned on what the part before it will have
done.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from breakglass.commands import (
    check_verdict,
    fetch,
    fetch_facts,
    import_facts,
    import_image,
    pin,
    pin_facts,
    restore,
    restore_facts,
)
from breakglass.commands.adoption import instead_of_fetch
from breakglass.commands.check_advice import RECOVER, without_api
from breakglass.commands.check_asked import Asked
from breakglass.commands.check_verdict import Need, Verdict
from breakglass.commands.choose import Chosen, choose_for, named
from breakglass.commands.environment import Environment, Identity
from breakglass.commands.fetch_options import Option
from breakglass.commands.recover_own import check_alone
from breakglass.commands.target import Target
from breakglass.config import Config
from breakglass.errors import BreakglassError, Refused, Unreachable, joined, then
from breakglass.observe.cluster import Node, Pin
from breakglass.observe.pins import pins_in_force
from breakglass.observe.shelf import Shelf
from breakglass.plan import Host, PatchNode, Plan, Step

REASON = "breakglass recover"
"""What stands in the annotations. COMMAND does not: it may hold secrets."""


@dataclass(frozen=True)
class Facts:
    target: Target
    fetching: fetch_facts.Facts
    option: Option | None
    """What is fetched; None: nobody has a tarball, and the node's containerd has the image."""
    others: tuple[Option, ...]
    """What would be, if that failed."""
    into: import_facts.Facts | None
    """The node as it is, with the tarball that will be there by then; None where that is
    known only after the fetch.
    """
    pinning: pin_facts.Facts
    """The cluster as it is, and a node that will have the image by then."""

    @property
    def node(self) -> Host:
        return self.target.host

    @property
    def in_force(self) -> tuple[Pin, ...]:
        """Pins that are in force on this node already, each run's once."""
        return tuple(
            {
                pin.run: pin
                for pin in pins_in_force(self.pinning.nodes)
                if pin.target == self.node.name
            }.values()
        )

    @property
    def answers_already(self) -> bool:
        """Whether an earlier import has set up the answering of pulls there."""
        return self.into is not None and (
            self.into.answers.taken.is_begun or self.into.answers.taken.has_responder
        )


@dataclass(frozen=True)
class Stage:
    """One part of the runbook."""

    name: str
    """The command that does this part alone."""
    plan: Plan | None
    """None: it can be planned only after the stage before it."""


def judge(registries: Sequence[Asked], *, tag: str | None, again: str) -> Verdict:
    """Whether the runbook is needed. `again`: the command as it was typed."""
    return check_verdict.judge(registries, tag=tag or "latest", again=again)


def check_needed(verdict: Verdict, *, again: str) -> None:
    """Raises Refused where every registry serves the image, Unreachable where that is not known."""
    anyway = f"{again} --anyway"
    if verdict.word is Need.NOT_NEEDED:
        raise Refused(
            verdict.sentence,
            next_step=then(
                anyway,
                advice=f"{verdict.advice}. To bring the image onto a node all the same",
            ),
        )
    if verdict.word is Need.UNKNOWN:
        raise Unreachable(verdict.sentence, next_step=joined([verdict.next_step, then(anyway)]))


def again_with(node: str | None) -> str:
    return RECOVER if node is None else f"{RECOVER} {node}"


def states(registries: Sequence[Asked]) -> str:
    return ", ".join(f"{asked} {asked.found.state}" for asked in registries)


def choose(environment: Environment, *, node: str | None, tag: str | None = None) -> Chosen:
    """The node that was named, if it fits; else the best fit. Raises Unreachable where the API is
    down: then nothing can be pinned, and the single commands remain.
    """
    try:
        nodes = environment.nodes()
    except Unreachable as error:
        known = environment.config.nodes.hosts
        advice, commands = without_api((node,) if node else tuple(known))
        raise Unreachable(
            f"recover pins through the API server, which was not reached: {error.message}",
            next_step=then(*commands, advice=advice),
        ) from error
    if node is not None:
        return named(environment, node, command="recover", nodes=nodes)
    return choose_for(environment, command="recover", nodes=nodes, tag=tag)


def observe(environment: Environment, chosen: Chosen, *, tag: str | None) -> Facts:
    """Everything that the whole plan is made of."""
    target = chosen.target
    fetching = fetch_facts.observe(
        environment,
        target=target,
        source=None,
        via="auto",
        known=chosen.sources,
        machine=chosen.machine,
    )
    option: Option | None
    others: tuple[Option, ...]
    try:
        fetching, option, others = fetch.choose_source(
            environment, fetching, tag=tag, via="auto", failed={}
        )
    except BreakglassError as error:
        into: import_facts.Facts | None = _adopting(environment, fetching, target, tag, error)
        option, others = None, ()
    else:
        shelf = fetch.shelf_then(fetching, option, tag=tag)
        into = _into(environment, fetching, target, tag, shelf) if shelf is not None else None
    pinning = pin_facts.observe(environment, target, nodes=target.nodes, machine=fetching.machine)
    return Facts(replace(target, nodes=pinning.nodes), fetching, option, others, into, pinning)


def _adopting(
    environment: Environment,
    fetching: fetch_facts.Facts,
    target: Target,
    tag: str | None,
    error: BreakglassError,
) -> import_facts.Facts:
    """The node, whose image is taken as it is. Raises the error, which says that nobody has a
    tarball, where its containerd does not have the image whole.
    """
    try:
        into = _into(environment, fetching, target, tag, None)
    except BreakglassError:  # that there is no tarball comes first
        raise error from error.__cause__
    if into.adopted is None:
        raise instead_of_fetch(
            environment, fetching, tag=tag, error=error, command="recover"
        ) from error.__cause__
    return into


def _into(
    environment: Environment,
    fetching: fetch_facts.Facts,
    target: Target,
    tag: str | None,
    shelf: Shelf | None,
) -> import_facts.Facts:
    """`shelf`: what the node's directory will be by then; None: nothing will be fetched."""
    return import_facts.observe(
        environment,
        target,
        tag=tag,
        answer_pulls=environment.config.nodes.answer_pulls,
        shelf=shelf,
        machine=fetching.machine,
        searched=shelf is None,
    )


def plan(
    facts: Facts, *, config: Config, identity: Identity, tag: str | None, restores: bool
) -> tuple[Stage, ...]:
    """Raises what any part of it would be refused for, before any of it is done."""
    taken = f"no host that answered has a tarball; {facts.node} has the image in its containerd"
    fetching = Plan(taken, warnings=tuple(map(str, facts.fetching.unread)))
    if facts.option is not None:
        fetching = fetch.plan(
            facts.fetching,
            facts.option,
            image=config.image,
            identity=identity,
            tag=tag,
            others=facts.others,
        )
    importing = (
        import_image.plan(facts.into, nodes=config.nodes, identity=identity, tag=tag)
        if facts.into
        else None
    )
    pinning = pin.plan(facts.pinning, identity=identity, reason=REASON)
    stages = (Stage("fetch", fetching), Stage("import", importing), Stage("pin", pinning))
    if not restores:
        return stages
    undoing = None
    own = own_of(facts, identity)
    if facts.into is not None and importing is not None:
        then = restore_facts.Facts(
            _nodes_then(facts.pinning.nodes, pinning.steps),
            facts.pinning.may_patch,
            "",
            (restore_facts.Site(facts.node, *import_image.left_by(facts.into, config.nodes)),),
            own=own,
        )
        undoing = restore.plan(then, names=(), nodes=config.nodes, identity=identity)
    return (*stages, Stage("restore", undoing))


def own_of(facts: Facts, identity: Identity) -> restore_facts.Own:
    """What this run may restore: its own and nothing else. Raises Refused where a pin is in
    force: it may be somebody's at work.
    """
    own = restore_facts.Own(facts.node, identity.run)
    check_alone(facts.pinning.nodes, own)
    return own


def _nodes_then(nodes: Iterable[Node], steps: Iterable[Step]) -> tuple[Node, ...]:
    """The nodes after the patches."""
    marks = {step.node: step.after for step in steps if isinstance(step, PatchNode)}
    return tuple(replace(node, mark=marks.get(node.name, node.mark)) for node in nodes)
