"""Whether an import has changed names in containerd that it was not to change."""

from collections.abc import Mapping

from breakglass.errors import Integrity, look_first
from breakglass.observe.containerd import Ctr, read_targets
from breakglass.plan import Compare, Run, title
from breakglass.ports import Writes


def compare(step: Compare, hosts: Writes) -> None:
    """Restore the names that changed and were not meant to. Raises Integrity where there were
    any.
    """
    host, ctr = step.host, Ctr(step.ctr, step.namespace)
    after = read_targets(hosts, host, ctr)
    changed = unexpected(step.before, after, step.names)
    if not changed:
        return
    left = [name for name, target in changed.items() if not _restore(step, hosts, name, target)]
    state = f"These names were restored: {', '.join(sorted(set(changed) - set(left))) or 'none'}."
    if left:
        state += f" These could not be restored: {', '.join(left)}."
    raise Integrity(
        f"{host}: the import changed names that it was not to change: {', '.join(changed)}",
        state=state,
        next_step=look_first(
            host.by_hand(*ctr.line("images", "ls")), advice="see who else changes names there"
        ),
    )


def unexpected(
    before: Mapping[str, str], after: Mapping[str, str], meant: tuple[str, ...]
) -> dict[str, str | None]:
    """The names that mean something else than before, and were not meant to, with what they meant;
    None: they were not there. Names that are gone are kubelet's garbage collection: an import
    removes none.
    """
    ours = {after[name] for name in meant if name in after}
    return {
        name: before.get(name)
        for name, target in sorted(after.items())
        if target != before.get(name)
        and name not in meant
        and not _is_of_kubelet(name, target, after, ours)
    }


def _is_of_kubelet(name: str, target: str, after: Mapping[str, str], ours: set[str]) -> bool:
    """Whether kubelet gave the name meanwhile: a pull gives a name by digest beside the one by tag,
    and the CRI plugin names each image by its ID.
    """
    if name.startswith("sha256:") or name.endswith(f"@{target}"):
        return True
    return target not in ours and f"{name.rpartition(':')[0]}@{target}" in after


def _restore(step: Compare, hosts: Writes, name: str, target: str | None) -> bool:
    """Whether the name means again what it meant before."""
    host, ctr = step.host, Ctr(step.ctr, step.namespace)
    if target is None:
        line, verb = ctr.line("images", "rm", name), "untag"
    else:
        # ctr can name an image only by another name of it.
        now = read_targets(hosts, host, ctr)
        source = next((other for other, digest in now.items() if digest == target), None)
        if source is None:
            return False
        line, verb = ctr.line("images", "tag", "--force", source, name), "tag"
    hosts.run(Run(host, (line,), title=title(verb, name)), lambda _: None)
    return read_targets(hosts, host, ctr).get(name) == target
