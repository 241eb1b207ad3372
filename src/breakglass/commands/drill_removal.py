"""What a drill leaves on the node, and the steps that remove it."""

from dataclasses import replace

from breakglass.commands.drill_facts import Facts
from breakglass.commands.tarball_steps import removal, tidying
from breakglass.observe.containerd import Ctr
from breakglass.plan import Argv, Host, Plan, Run, Step, title

QUIET_SECONDS = 300.0
"""`--sync` waits until content and snapshots are deleted, and prints nothing meanwhile."""


def leftover(facts: Facts) -> Plan:
    """Removes what a drill has left; nothing to do when it has ended well."""
    scratch = facts.reach.shelf
    last = (remove_directory(facts.node, scratch.directory),) if scratch.present else ()
    goal = f"nothing of a drill is left on {facts.node}"
    return Plan(goal, (*remove_leftovers(facts), *last))


def state(facts: Facts) -> str:
    """What is left on the node: the sentence for an error."""
    untouched = "The cluster, hosts.toml and the images of the node were not touched."
    if not leftover(facts).steps:
        return f"Nothing of the drill is left on {facts.node}. {untouched}"
    left = []
    if facts.reach.shelf.present:
        left.append(facts.reach.shelf.directory)
    if facts.namespace is not None:
        left.append(f"the namespace {facts.ctr.namespace} of containerd")
    return f"Left on {facts.node}: {' and '.join(left)}; the next drill removes it. {untouched}"


def remove_leftovers(facts: Facts) -> tuple[Step, ...]:
    """Removes what a drill that was killed has left, except the scratch directory itself."""
    node, ctr, scratch = facts.node, facts.ctr, facts.reach.shelf
    steps: list[Step] = []
    if facts.namespace is not None:
        if facts.namespace.images:
            steps.append(remove_images(node, ctr, facts.namespace.images))
        if facts.namespace.leases:
            steps.append(_remove_leases(node, ctr, facts.namespace.leases))
        steps.append(remove_namespace(node, ctr))
    steps += tidying(scratch, but=None)
    steps += (removal(scratch, tarball) for tarball in scratch.tarballs)
    # This drill removes the same again when it ends; the titles must differ.
    return tuple(replace(step, title=title("leftover:", step.title)) for step in steps)


def remove_images(node: Host, ctr: Ctr, names: tuple[str, ...]) -> Run:
    """Removes the names, and waits until what only they refer to is deleted. ctr ignores names
    that are not there.
    """
    return Run(
        node,
        (ctr.line("images", "rm", "--sync", *names),),
        QUIET_SECONDS,
        title=title("remove the images of", ctr.namespace),
    )


def remove_all_leases(node: Host, ctr: Ctr) -> tuple[Run, Run]:
    """After a failed import. Its content is kept by a lease whose name is not known, or is deleted
    some time later; to remove a lease of ours waits for that.
    """
    create = Run(
        node,
        (ctr.line("leases", "create", "--id", ctr.namespace),),
        title=title("create a lease in", ctr.namespace),
    )
    remove = Run(
        node,
        (ctr.line("leases", "ls", "-q"), ("xargs", "-r", *ctr.line("leases", "rm", "--sync"))),
        QUIET_SECONDS,
        title=title("remove all leases of", ctr.namespace),
    )
    return create, remove


def remove_namespace(node: Host, ctr: Ctr) -> Run:
    """containerd removes only an empty namespace."""
    line: Argv = (*ctr.command, "namespaces", "rm", ctr.namespace)
    return Run(node, (line,), title=title("remove the namespace", ctr.namespace))


def remove_directory(node: Host, directory: str) -> Run:
    """Only if it is empty; it is no fault if it is not there."""
    return Run(node, (("rm", "-df", "--", directory),), title=title("remove", directory))


def _remove_leases(node: Host, ctr: Ctr, leases: tuple[str, ...]) -> Run:
    return Run(
        node,
        (ctr.line("leases", "rm", "--sync", *leases),),
        QUIET_SECONDS,
        title=title("remove the leases of", ctr.namespace),
    )
