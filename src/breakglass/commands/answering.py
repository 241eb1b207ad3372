"""The steps that let a node serve the image locally, and those that undo it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from breakglass.commands.answering_facts import Answers
from breakglass.commands.config_path import check_config_path
from breakglass.commands.hosts_toml_edit import edit_hosts_toml
from breakglass.commands.node_record import edited, restore_file
from breakglass.observe.answering import Site, Taken
from breakglass.observe.containerd import Ctr
from breakglass.plan import Host, Run, Step, script


@dataclass(frozen=True)
class Part:
    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    taken: Taken = field(default_factory=Taken, compare=False)
    """What is set up on the node once these steps are done."""


def set_up(
    node: Host,
    directory: str,
    certs: str,
    ctr: Ctr,
    answers: Answers,
    *,
    kept: Mapping[str, str],
    targets: Mapping[str, str],
) -> Part:
    """The responder runs and answers for every name, and containerd asks it. `kept`: name -> the
    private name that keeps its image; `targets`: name -> digest, in containerd now.

    Raises Refused where containerd would not ask, or a hosts.toml cannot be extended.
    """
    answering, taken = answers.answering, answers.taken
    assert answering is not None
    warnings = check_config_path(node, certs, answering)
    port = answering.responder.port or answering.responder.free_port
    start: tuple[Run, ...] = ()
    if not _runs(answers, kept, targets):
        start = (_start(node, directory, ctr, port, answering.content or "", kept),)
    sites: dict[str, list[Site]] = {}
    for site in answering.sites:
        sites.setdefault(site.file, []).append(site)
    address = f"http://127.0.0.1:{port}"
    edits = [
        edit_hosts_toml(node, directory, sharing, answers, address) for sharing in sites.values()
    ]
    # Files that no name concerns any more.
    unconcerned = tuple(file for file in taken.files if file.path not in sites)
    undo = take_back(node, directory, replace(taken, files=unconcerned, has_responder=False))
    files = (*(edit.file for edit in edits if edit.file), *undo.taken.files)
    return Part(
        (*start, *(step for edit in edits for step in edit.steps), *undo.steps),
        tuple(note for edit in edits for note in edit.notes),
        (*warnings, *(warning for edit in edits for warning in edit.warnings), *undo.warnings),
        replace(taken, files=tuple(sorted(files, key=lambda file: file.path)), has_responder=True),
    )


def take_back(node: Host, directory: str, taken: Taken) -> Part:
    """No hosts.toml lists the node any more, and the responder is gone. A file that somebody has
    edited is left.
    """
    restored = tuple(
        restore_file(node, directory, file) for file in taken.files if not file.is_edited
    )
    left = tuple(file for file in taken.files if file.is_edited)
    return Part(
        (*restored, *((_stop(node, directory),) if taken.has_responder else ())),
        warnings=tuple(edited(node, taken)),
        taken=replace(taken, files=left, has_responder=False),
    )


def _runs(answers: Answers, kept: Mapping[str, str], targets: Mapping[str, str]) -> bool:
    """Whether the responder answers for every name with what containerd has now."""
    if answers.answering is None or not answers.taken.has_responder:
        return False
    responder = answers.answering.responder
    expected = {name: targets.get(keep) for name, keep in kept.items()}
    return responder.port is not None and responder.answers == expected


def _start(
    node: Host, directory: str, ctr: Ctr, port: int, content: str, kept: Mapping[str, str]
) -> Run:
    names = tuple(word for name, keep in kept.items() for word in ("--answer", f"{name}={keep}"))
    options = ("--port", str(port), "--content", content, *names, "--", *ctr.line())
    line = script("responder", "start", directory, *options)
    return Run(node, (line,), title=f"start the responder on port {port}")


def _stop(node: Host, directory: str) -> Run:
    line = script("responder", "stop", directory)
    return Run(node, (line,), title="stop the responder")
