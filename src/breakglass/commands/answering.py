"""The steps that let a node answer pulls, and those that take it back."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from breakglass.commands import Estate
from breakglass.commands.hosts_toml import compose
from breakglass.commands.hosts_toml_reading import endpoints, lists, registry_of
from breakglass.errors import Refused
from breakglass.observe.answering import (
    MARK,
    Answering,
    Pull,
    PullState,
    Site,
    Taken,
    TakenFile,
    read_answering,
    read_pulls,
    read_taken,
)
from breakglass.observe.containerd import Ctr
from breakglass.plan import Argv, Host, Run, Step, title


@dataclass(frozen=True)
class Answers:
    """What is known of a node that is, or is not, to answer pulls."""

    taken: Taken
    answering: Answering | None = None
    """None: it is not to."""
    pulls: tuple[Pull, ...] = ()
    """What the registries do, asked from the node."""

    def first(self, registry: str) -> Pull | None:
        """Why the node has to come before this registry: what answers first for one of its names,
        the registry or a mirror, has a broken image.
        """
        deciding: dict[str, Pull] = {}
        for pull in self.pulls:
            if pull.registry == registry and pull.state in (PullState.SERVES, PullState.BROKEN):
                deciding.setdefault(pull.name, pull)
        return next((pull for pull in deciding.values() if pull.state is PullState.BROKEN), None)

    @property
    def refusing(self) -> tuple[str, ...]:
        """Registries that let nobody look without a login, so that nobody knows whether their image
        is whole.
        """
        refusing = (pull.registry for pull in self.pulls if pull.state is PullState.REFUSES)
        return tuple(dict.fromkeys(refusing))


@dataclass(frozen=True)
class Part:
    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    taken: Taken = field(default_factory=Taken, compare=False)
    """What is taken from the node once these steps are done."""


def read_answers(
    estate: Estate,
    host: Host,
    names: tuple[str, ...],
    *,
    architecture: str,
    wanted: bool,
    pulls: tuple[Pull, ...] | None = None,
) -> Answers:
    """`pulls`: what the registries did when they were asked before; they are not asked again."""
    nodes = estate.config.nodes
    if not wanted or not names:
        return Answers(read_taken(estate.hosts, host, nodes.directory, certs=nodes.registry_config))
    registries = tuple(dict.fromkeys(registry_of(name) for name in names))
    taken, answering = read_answering(
        estate.hosts,
        host,
        nodes.directory,
        certs=nodes.registry_config,
        registries=registries,
        ctr=estate.ctr,
    )
    if pulls is None:
        estate.note(f"asking {', '.join(registries)} from {host}")
        questions = [
            question
            for site in answering.sites
            for question in _questions(site, taken, names, architecture)
        ]
        pulls = tuple(
            _second_opinion(estate, pull, architecture)
            for pull in read_pulls(estate.hosts, host, questions)
        )
    return Answers(taken, answering, pulls)


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
    """The responder runs and answers for every name (`kept`: name -> the name of ours that keeps
    its image), and containerd asks it.

    Raises Refused where containerd would not ask, or a hosts.toml cannot be extended.
    """
    answering, taken = answers.answering, answers.taken
    assert answering is not None
    warnings = check_config_path(node, certs, answering)
    responder = answering.responder
    port = responder.port or responder.free_port
    wanted = tuple(word for name, keep in kept.items() for word in ("--answer", f"{name}={keep}"))
    start = Run(
        node,
        (
            (
                "python3",
                "breakglass-remote.pyz",
                "responder",
                "start",
                directory,
                "--port",
                str(port),
                "--content",
                answering.content or "",
                *wanted,
                "--",
                *ctr.line(),
            ),
        ),
        title=f"start the responder on port {port}",
        is_script=True,
    )
    runs = (
        responder.port is not None
        and taken.has_responder
        and responder.answers == {name: targets.get(keep) for name, keep in kept.items()}
    )
    parts = [
        Part(
            () if runs else (start,),
            warnings=(*warnings, *(_refuses(registry) for registry in answers.refusing)),
        )
    ]
    files = dict.fromkeys(site.file for site in answering.sites)
    listed: list[TakenFile] = []
    for file in files:
        sharing = [site for site in answering.sites if site.file == file]
        part, taken_file = _list(node, directory, sharing, answers, f"http://127.0.0.1:{port}")
        parts.append(part)
        listed += [taken_file] if taken_file else []
    # Files that no name concerns any more.
    parts.append(
        take_back(
            node,
            directory,
            replace(
                taken,
                files=tuple(file for file in taken.files if file.path not in files),
                has_responder=False,
            ),
        )
    )
    listed += parts[-1].taken.files
    return Part(
        tuple(step for part in parts for step in part.steps),
        tuple(note for part in parts for note in part.notes),
        tuple(warning for part in parts for warning in part.warnings),
        replace(
            taken,
            files=tuple(sorted(listed, key=lambda file: file.path)),
            has_responder=True,
        ),
    )


def take_back(node: Host, directory: str, taken: Taken) -> Part:
    """No hosts.toml lists the node any more, and the responder is gone. A file that somebody has
    edited is left.
    """
    putting = tuple(_put_back(node, directory, file) for file in taken.files if not file.is_edited)
    stop = (
        (
            Run(
                node,
                (("python3", "breakglass-remote.pyz", "responder", "stop", directory),),
                title="stop the responder",
                is_script=True,
            ),
        )
        if taken.has_responder
        else ()
    )
    left = tuple(file for file in taken.files if file.is_edited)
    return Part(
        (*putting, *stop),
        warnings=tuple(edited(node, taken)),
        taken=replace(taken, files=left, has_responder=False),
    )


def edited(node: Host, taken: Taken) -> list[str]:
    """A sentence for each file that was edited after us."""
    return [
        (
            f"{node}:{file.path} was {'deleted' if file.now is None else 'edited'} after "
            f"breakglass wrote it, so it is left as it is"
        )
        for file in taken.files
        if file.is_edited
    ]


def begin(node: Host, directory: str, ctr: Ctr) -> Run:
    """There is a record of what is taken from the node."""
    line = (
        "python3",
        "breakglass-remote.pyz",
        "taken",
        "begin",
        directory,
        "--namespace",
        ctr.namespace,
    )
    return Run(node, (line,), title=title("begin the record in", directory), is_script=True)


def end(node: Host, directory: str) -> Run:
    """The record goes: all is given back."""
    line = ("python3", "breakglass-remote.pyz", "taken", "end", directory)
    return Run(node, (line,), title=title("remove the record in", directory), is_script=True)


def check_config_path(node: Host, certs: str, answering: Answering) -> list[str]:
    """Warnings. Raises Refused where containerd does not look for hosts.toml in the directory that
    the configuration names.
    """
    path = answering.config_path
    without = (
        "With --no-answer-pulls the image comes in, and pods with IfNotPresent start; pods with "
        "Always (the default of :latest) do not."
    )
    if path is None:
        fault = answering.config_fault or f"no containerd command, and no {answering.config_file}"
        why = (
            f"containerd's configuration cannot be read ({fault}), "
            f"so nobody knows whether it reads hosts.toml"
        )
    elif not path:
        why = (
            f"containerd on {node} does not read hosts.toml: config_path is not set in "
            f"{answering.config_file}, and to set it containerd has to be restarted, which "
            f"breakglass never does"
        )
    elif ":" in path:
        why = (
            f"config_path of containerd on {node} is a list, {path}, and containerd is known not "
            f"to read mirrors from one (containerd issue 12636); one directory alone works, "
            f"after a restart"
        )
    elif path.rstrip("/") != certs.rstrip("/"):
        why = (
            f"containerd on {node} reads hosts.toml below {path}, nodes.registry_config says "
            f"{certs}"
        )
    elif answering.content is None:
        why = f"containerd on {node} does not tell where its content store is (ctr plugins ls)"
    else:
        newer = (
            f"{answering.config_file} on {node} was changed after containerd started: where "
            f"config_path was what changed, pods with Always start only after a restart of "
            f"containerd"
        )
        return [newer] if answering.config_is_newer else []
    raise Refused(
        f"pods with Always would not start: {why}",
        state=f"Nothing was changed. {without}",
        next_step=f"breakglass import {node} --no-answer-pulls",
    )


def _list(
    node: Host, directory: str, sharing: list[Site], answers: Answers, address: str
) -> tuple[Part, TakenFile | None]:
    """One hosts.toml, of one registry or of several that share it, lists the node; steps only where
    it does not, or not in the right place. With what the record says of the file then.
    """
    taken = answers.taken
    site = replace(sharing[0], linked=len(sharing) > 1 or sharing[0].linked)
    if site.fault:
        raise Refused(
            f"{node}: {site.fault}",
            next_step=(
                "see what it is; or import without it: --no-answer-pulls (pods with Always do "
                "not start then)"
            ),
        )
    broken = [
        pull for pull in (answers.first(each.registry) for each in sharing) if pull is not None
    ]
    notes = tuple(
        (
            f"{pull.registry} answers, but its image is broken, asked from {node} ({pull.name}: "
            f"{pull.detail}): pulls go to the node first"
        )
        for pull in broken
    )
    entry = taken.file(site.file)
    if MARK in (site.text or "") and not (entry and entry.is_ours):
        why = (
            "was edited after breakglass wrote it"
            if entry
            else f"holds lines of breakglass that no record in {directory} knows"
        )
        if not lists(site.text, address, first=bool(broken)):
            where = (
                f", and does not list "
                f"{address}{' first, though the image of the registry is broken' if broken else ''}"
            )
            raise Refused(
                f"{node}:{site.file} {why}{where}",
                next_step=(
                    f"take the lines out that follow `{MARK}`: "
                    f"{node.by_hand('editor', site.file)}; then run the same command again"
                ),
            )
        left = f"{node}:{site.file} {why}; it lists the node, and is left as it is"
        return Part((), notes, (left,)), entry
    original = _original(site, taken)
    insertion = compose(site, original, address=address, first=bool(broken))
    before: tuple[Step, ...] = ()
    warnings: tuple[str, ...] = ()
    if entry and entry.is_ours:
        if insertion.text == entry.written:
            return Part((), notes), entry
        before = (_put_back(node, directory, entry),)
    elif entry and entry.now is None and entry.original is not None:
        warnings = (
            (
                f"{node}:{site.file} was deleted after breakglass wrote it: what was there "
                f"before comes back first"
            ),
        )
        before = (_put_back(node, directory, entry, "--although-gone"),)
    elif entry and entry.is_edited:
        warnings = (
            (
                f"{node}:{site.file} was replaced after breakglass wrote it: what is there now "
                f"is what restore will put back"
            ),
        )
    onto = (
        "absent" if insertion.base is None else hashlib.sha256(insertion.base.encode()).hexdigest()
    )
    copied = (
        ("--copy", site.default_file) if original is None and insertion.base is not None else ()
    )
    insert = Run(
        node,
        (
            (
                "python3",
                "breakglass-remote.pyz",
                "taken",
                "insert",
                directory,
                site.file,
                "--onto",
                onto,
                *copied,
                "--before",
                insertion.before,
                "--",
                *insertion.lines,
            ),
        ),
        title=title("edit", _short(site.file)),
        is_script=True,
    )
    inserted = TakenFile(site.file, original, insertion.text, insertion.text)
    return Part((*before, insert), notes, warnings), inserted


def _refuses(registry: str) -> str:
    return (
        f"{registry} lets nobody look without a login: if its image is broken, pods with Always "
        f"do not start under its name; log in here (docker login {registry}) and import again"
    )


def _put_back(node: Host, directory: str, file: TakenFile, *options: str) -> Run:
    line: Argv = (
        "python3",
        "breakglass-remote.pyz",
        "taken",
        "put_back",
        directory,
        file.path,
        *options,
    )
    return Run(node, (line,), title=title("restore", _short(file.path)), is_script=True)


def _short(path: str) -> str:
    """The directory that is called after the registry, and the file in it."""
    return "/".join(path.split("/")[-2:])


def _original(site: Site, taken: Taken) -> str | None:
    entry = taken.file(site.file)
    return entry.original if entry and (entry.is_ours or entry.now is None) else site.text


def _questions(
    site: Site, taken: Taken, names: tuple[str, ...], architecture: str
) -> list[dict[str, object]]:
    """What the node is to ask of the hosts that pulls of these names go to; nothing where the file
    cannot be understood, which the plan will say.
    """
    try:
        hosts = [] if site.fault else endpoints(site, _original(site, taken))
    except Refused:
        return []
    split = [
        (name.rpartition(":")[0].partition("/")[2], name.rpartition(":")[2])
        for name in names
        if registry_of(name) == site.registry
    ]
    tags = {
        repository: [tag for other, tag in split if other == repository] for repository, _ in split
    }
    return [
        {
            "registry": site.registry,
            "endpoints": hosts,
            "repository": repository,
            "tags": its,
            "architecture": architecture,
        }
        for repository, its in tags.items()
        if hosts
    ]


def _second_opinion(estate: Estate, pull: Pull, architecture: str) -> Pull:
    """A registry that refuses the node, which has no login, is asked from here, where there may be
    one.
    """
    if pull.state is not PullState.REFUSES:
        return pull
    found = estate.image_id(pull.name, f"linux/{architecture}")
    return (
        replace(
            pull,
            state=PullState.BROKEN,
            detail=f"asked with the login that is here: {found.detail}",
            missing=found.missing,
        )
        if found.state == "broken"
        else pull
    )
