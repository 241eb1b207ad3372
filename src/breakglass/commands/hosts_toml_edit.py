"""The steps after which one hosts.toml lists the node as a host that serves the image locally."""

import hashlib
import posixpath
from dataclasses import dataclass, replace

from breakglass.commands.answering_facts import Answers, original_text
from breakglass.commands.hosts_toml import Insertion, compose
from breakglass.commands.hosts_toml_reading import WITHOUT_IT, lists
from breakglass.commands.node_record import insert, restore_file
from breakglass.errors import AGAIN, Refused, then
from breakglass.observe.answering import MARK, Site, TakenFile
from breakglass.plan import Host, Run


@dataclass(frozen=True)
class Edit:
    steps: tuple[Run, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    file: TakenFile | None = None
    """What the record says of the file once these steps are done."""


def edit_hosts_toml(
    node: Host, directory: str, sharing: list[Site], answers: Answers, address: str
) -> Edit:
    """`sharing`: the registries that have this file, one or several. There are steps only where
    the file does not list the node, or not in the right place.

    Raises Refused where the file cannot be read or extended.
    """
    site = replace(sharing[0], linked=len(sharing) > 1 or sharing[0].linked)
    if site.fault:
        raise Refused(
            f"{node}: {site.fault}",
            next_step=then(
                node.by_hand("ls", "-la", posixpath.dirname(site.file)),
                AGAIN,
                f"breakglass import {node} --no-answer-pulls",
                advice=f"see what it is; or {WITHOUT_IT}",
            ),
        )
    reasons = {each.registry: answers.why_first(each.registry) for each in sharing}
    notes = tuple(
        f"{registry} does not serve the image to {node} ({reason}): {node} asks itself first, and "
        f"does so until breakglass restore"
        for registry, reason in reasons.items()
        if reason
    )
    first = bool(notes)
    entry = answers.taken.file(site.file)
    if MARK in (site.text or "") and not (entry and entry.is_ours):
        warning = _left_as_it_is(node, directory, site, entry, address, first=first)
        return Edit((), notes, (warning,), entry)
    original = original_text(site, answers.taken)
    insertion = _insertion(node, site, original, address, first=first)
    if entry and entry.is_ours and insertion.text == entry.written:
        return Edit((), notes, file=entry)
    before, warnings = _restored_before(node, directory, entry)
    edit = _insert(node, directory, site, original, insertion)
    inserted = TakenFile(site.file, original, insertion.text, insertion.text)
    return Edit((*before, edit), notes, warnings, inserted)


def _left_as_it_is(
    node: Host, directory: str, site: Site, entry: TakenFile | None, address: str, *, first: bool
) -> str:
    """The warning for a file that has lines of ours and is not as we wrote it.

    Raises Refused where it does not list the node in the right place.
    """
    if entry:
        why = "was edited after breakglass wrote it"
    else:
        why = f"holds lines of breakglass that no record in {directory} knows"
    if lists(site.text, address, first=first):
        return f"{node}:{site.file} {why}; it lists the node, and is left as it is"
    place = " first, though the registry does not serve the image" if first else ""
    raise Refused(
        f"{node}:{site.file} {why}, and does not list {address}{place}",
        next_step=then(
            node.by_hand("editor", site.file),
            AGAIN,
            advice=f"remove the lines that follow `{MARK}`, then try again",
        ),
    )


def _insertion(
    node: Host, site: Site, original: str | None, address: str, *, first: bool
) -> Insertion:
    """Raises Refused, which says that an import without this goes on."""
    try:
        return compose(site, original, address=address, first=first)
    except Refused as error:
        without = f"breakglass import {node} --no-answer-pulls"
        step = then(AGAIN, without, advice=error.next_step.advice)
        raise error.replaced(next_step=step) from error.__cause__


def _restored_before(
    node: Host, directory: str, entry: TakenFile | None
) -> tuple[tuple[Run, ...], tuple[str, ...]]:
    """(steps, warnings): the file is as it was before us, so that the new lines can be added."""
    if entry is None:
        return (), ()
    if entry.is_ours:
        return (restore_file(node, directory, entry),), ()
    if entry.now is None and entry.original is not None:
        warning = (
            f"{node}:{entry.path} was deleted after breakglass wrote it: what was there before "
            f"comes back first"
        )
        return (restore_file(node, directory, entry, "--although-gone"),), (warning,)
    if entry.is_edited:
        warning = (
            f"{node}:{entry.path} was replaced after breakglass wrote it: what is there now is "
            f"what restore will undo"
        )
        return (), (warning,)
    return (), ()


def _insert(
    node: Host, directory: str, site: Site, original: str | None, insertion: Insertion
) -> Run:
    """The step names the digest of the text that it adds to: it fails where that has changed."""
    base = insertion.base
    onto = "absent" if base is None else hashlib.sha256(base.encode()).hexdigest()
    is_copy = original is None and base is not None
    copy = ("--copy", site.default_file) if is_copy else ()
    options = ("--onto", onto, *copy, "--before", insertion.before, "--", *insertion.lines)
    return insert(node, directory, site.file, *options)
