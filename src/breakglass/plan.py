"""The steps and the plan. Values only: what is shown and what is done are the same value.

All kinds of steps are in this file, so that they can be read and compared in a single place.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum

from breakglass.errors import NOTHING, Next
from breakglass.marks import Mark, merge_patch
from breakglass.quoting import join, one_line, quote

Argv = tuple[str, ...]

PROGRAM = "breakglass-remote.pyz"
"""What hosts run: the package `remote` as one file, which calls itself by this name too."""
OLDEST_PYTHON = (3, 8)
"""What that program needs on a host."""
PIPE_SHELL = ("bash", "--norc", "-o", "pipefail", "-c")
"""Under SSH bash reads ~/.bashrc even for `-c`; what that prints would be part of the output."""
TITLE_LENGTH = 60
"""A screen may cut a title behind so many characters, so these have to differ."""


@dataclass(frozen=True)
class Host:
    """A machine that commands run on: the name people use for it, and how SSH reaches it."""

    name: str
    ssh: str
    """`[user@]host[:port]`, or a Host of the SSH configuration."""
    sudo: bool = False

    def __str__(self) -> str:
        return self.name

    @property
    def login(self) -> Argv:
        """The arguments of the ssh client that reach it: the client takes no `host:port`."""
        user, at, rest = self.ssh.rpartition("@")
        host, colon, port = rest.rpartition(":")
        if colon and host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif not colon or ":" in host:
            host, port = rest.strip("[]"), ""
        return (*(("-p", port) if port else ()), f"{user}{at}{host}")

    def by_hand(self, *command: str, asks: bool = False) -> str:
        """A line to type that runs a command on it. The ssh client joins its words by spaces for
        the login shell there, so what needs quotes needs them twice. `asks`: it asks something, for
        which it needs a terminal.
        """
        words = ("sudo", *command) if self.sudo else command
        line = join(words)
        client = ("ssh", *(("-t",) if asks else ()), *self.login)
        return join(client) + " " + (line if line == " ".join(words) else quote(line))


def script(name: str, *arguments: str) -> Argv:
    """The command line of one of our own scripts: it runs on a host, and a person can type it."""
    return ("python3", PROGRAM, name, *arguments)


def is_script(argv: Argv) -> bool:
    """Whether it is one of those."""
    return argv[:2] == ("python3", PROGRAM)


def command_line(pipeline: tuple[Argv, ...], *, sudo: bool) -> str:
    """The one command line, quoted once, that runs a pipeline and fails when any part of it
    fails.
    """
    return join(command_words(pipeline, sudo=sudo))


def command_words(pipeline: tuple[Argv, ...], *, sudo: bool) -> Argv:
    """The words of this line, for the login shell of the host."""
    prefix = ("sudo", "-n") if sudo else ()
    if len(pipeline) == 1:
        return one_line(prefix + pipeline[0])
    return one_line((*prefix, *PIPE_SHELL, " | ".join(join(argv) for argv in pipeline)))


class Purpose(Enum):
    """What a step is for."""

    LOOKS = "looks"
    """It only reads."""
    PREPARES = "prepares"
    """It leaves nothing that anybody relies on: a lock, an empty directory, docker's own cache."""
    TRANSFERS = "transfers"
    """It brings a tarball to a directory; progress is in bytes."""
    CHANGES = "changes"


class Trace(StrEnum):
    """What a step means for the journal: from when to when there is something to undo."""

    BEGINS = "begins"
    ENDS = "ends"


@dataclass(frozen=True, kw_only=True)
class Described:
    """What every step says of itself. None of it makes two steps different."""

    title: str = field(default="", compare=False)
    """What it does, for a person: `tag registry.example/infra-ci:latest`."""
    purpose: Purpose = field(default=Purpose.CHANGES, compare=False)

    @property
    def is_change(self) -> bool:
        """Whether it changes something that anybody relies on."""
        return self.purpose in (Purpose.TRANSFERS, Purpose.CHANGES)


def title(verb: str, name: str, after: str = "") -> str:
    """A step's title. A name that is too long loses its middle: its end is what differs."""
    room = TITLE_LENGTH - len(verb) - len(after) - 1
    if len(name) > room > 15:
        name = f"{name[:10]}...{name[13 - room :]}"
    return f"{verb} {name}{after}"


@dataclass(frozen=True)
class Run(Described):
    """Run one command line on one host.

    `python3 breakglass-remote.pyz` in a pipeline stands for our own scripts, the package `remote`,
    which travels on standard input.
    """

    host: Host
    pipeline: tuple[Argv, ...]
    quiet_seconds: float = 30.0
    """Without a byte of output for so long, the command counts as hanging."""
    first_seconds: float | None = None
    """What is allowed before the first byte, where that is more."""
    total_bytes: int | None = None
    """What the progress is measured against, where that is known, or about known."""
    resumed_bytes: int = field(default=0, compare=False, kw_only=True)
    """How much of `total_bytes` an earlier run has transferred already."""
    repair: Next = field(default=NOTHING, compare=False, kw_only=True)
    """What to type where our script finds that content is not what was recorded."""
    failed_next: Next = field(default=NOTHING, compare=False, kw_only=True)
    """What to type where our script fails; empty: the same command again."""
    trace: Trace | None = field(default=None, compare=False, kw_only=True)
    """Whether it begins or ends that the host has something to undo."""
    lines: tuple[str, ...] = field(default=(), kw_only=True)
    """What our script gets as text, on standard input: in its arguments everybody on the host could
    read it.
    """

    @property
    def ends_in_script(self) -> bool:
        """Our own script ends it: its exit status is one of `errors.py`, and it says one
        sentence.
        """
        return is_script(self.pipeline[-1])

    def __str__(self) -> str:
        line = command_line(self.pipeline, sudo=self.host.sudo)
        given = join(("printf", r"%s\n", *self.lines)) + " | " if self.lines else ""
        return f"{self.host}$ {given}{line}"


@dataclass(frozen=True)
class Copy(Described):
    """Stream what one host's command prints into another host's command, through this machine, not
    through its disk.
    """

    source: Run
    sink: Run
    total_bytes: int | None = None
    resumed_bytes: int = field(default=0, compare=False, kw_only=True)
    """How much of `total_bytes` an earlier run has transferred already."""
    purpose: Purpose = field(default=Purpose.TRANSFERS, compare=False, kw_only=True)

    def __str__(self) -> str:
        return f"operator$ {_from_here(self.source)} | {_from_here(self.sink)}"


@dataclass(frozen=True)
class Sign(Described):
    """Sign on this machine what a host's command prints, and hand the signature to another command
    there.
    """

    source: Run
    """Prints the record of a tarball."""
    sink: Run
    key: str
    """The file of the key, or of its public part."""
    namespace: str
    """What the signature is for."""
    tag: str
    sequence: int
    images: tuple[tuple[str, str | None], ...]
    """(name, image ID where it is known): tag, sequence and images are what the record must have.
    Nothing else is signed.
    """

    @property
    def host(self) -> Host:
        return self.sink.host

    def __str__(self) -> str:
        signing = join(("ssh-keygen", "-Y", "sign", "-n", self.namespace, "-f", self.key))
        return f"operator$ {_from_here(self.source)} | {signing} | {_from_here(self.sink)}"


def _from_here(run: Run) -> str:
    """The ssh client that does it, as a part of a pipe on this machine."""
    return join(("ssh", *run.host.login, command_line(run.pipeline, sudo=run.host.sudo)))


@dataclass(frozen=True)
class Lock(Described):
    """Hold the lock file of a directory on a host until the plan ends."""

    host: Host
    path: str
    holder: str = field(compare=False)
    """Who holds it, for the run that finds it held. Not shown: it differs from run to run."""
    purpose: Purpose = field(default=Purpose.PREPARES, compare=False, kw_only=True)

    def __str__(self) -> str:
        return (
            f"{self.host}$ "
            f"{command_line((('flock', '--nonblock', self.path, 'cat'),), sudo=self.host.sudo)}"
        )


@dataclass(frozen=True)
class PatchNode(Described):
    """One guarded merge patch of a Node object: from `before`, and only from there, to `after`."""

    node: str
    before: Mark
    after: Mark
    resource_version: str = field(compare=False, repr=False)
    """The version that was read. Not shown: kubelets move it all the time; a conflict is re-read
    and judged again.
    """
    kubectl: Argv = field(default=("kubectl",), compare=False, kw_only=True)
    """The command in its line, with the options that name the cluster."""
    is_claim: bool = field(default=False, compare=False, kw_only=True)
    """It is sent before the other patches, and they only where it was done: of two pins at the
    same time, the API server lets one through.
    """
    needs: Host | None = field(default=None, compare=False, kw_only=True)
    """It is sent only where every step on this host went well."""

    @property
    def trace(self) -> Trace | None:
        """Whether it begins or ends that the node is cordoned by us."""
        if self.after.unschedulable and not self.before.unschedulable:
            return Trace.BEGINS
        had = self.before.annotation is not None or self.before.unschedulable
        return Trace.ENDS if had and self.after.annotation is None else None

    def body(self) -> Mapping[str, object]:
        """The merge patch, without the guard."""
        return merge_patch(self.before, self.after)

    def __str__(self) -> str:
        return "operator$ " + join(
            (
                *self.kubectl,
                "patch",
                "node",
                self.node,
                "--type=merge",
                "--patch=" + json.dumps(self.body(), separators=(",", ":")),
            )
        )


@dataclass(frozen=True)
class Confirm(Described):
    """Read a name in containerd back: it must resolve to this image ID (the sha256 of its
    configuration), unpacked.
    """

    host: Host
    ctr: Argv
    namespace: str
    reference: str
    image_id: str
    architecture: str
    snapshotter: str = ""
    """Where it has to be unpacked; empty: in ctr's default."""
    purpose: Purpose = field(default=Purpose.LOOKS, compare=False, kw_only=True)

    def __str__(self) -> str:
        line = command_line(
            ((*self.ctr, "-n", self.namespace, "images", "ls", f"name=={self.reference}"),),
            sudo=self.host.sudo,
        )
        unpacked = f"unpacked with {self.snapshotter}" if self.snapshotter else "unpacked"
        return f"{self.host}$ {line}  # image ID must be {self.image_id}, {unpacked}"


@dataclass(frozen=True)
class Compare(Described):
    """Compare all names in containerd with what they meant before: only these may have changed.
    Others are restored, and the plan fails.
    """

    host: Host
    ctr: Argv
    namespace: str
    names: tuple[str, ...]
    before: Mapping[str, str] = field(compare=False, repr=False)
    """Name -> digest. Not shown: kubelet may pull or remove an image meanwhile."""
    purpose: Purpose = field(default=Purpose.LOOKS, compare=False, kw_only=True)

    def __str__(self) -> str:
        line = (*self.ctr, "-n", self.namespace, "images", "ls")
        shown = command_line((line,), sudo=self.host.sudo)
        return f"{self.host}$ {shown}  # of the names, only these may have changed: " + ", ".join(
            self.names
        )


Step = Run | Copy | Sign | Lock | PatchNode | Confirm | Compare


@dataclass(frozen=True)
class Plan:
    """What will be done, in order. Every prefix of it is safe."""

    goal: str
    """One sentence: what is true when the plan is done."""
    steps: tuple[Step, ...] = ()
    undo: tuple[tuple[Step, Run], ...] = ()
    """(step, what undoes it). If a step fails, the steps that had begun are undone, so that names
    are as they were. Shown with the plan.
    """
    settled: int | None = None
    """After so many steps the goal is reached: what fails behind them is not undone."""
    independent: bool = False
    """No host waits for another, nor for the cluster: a failure ends that host's steps only, and is
    reported at the end.
    """
    notes: tuple[str, ...] = ()
    """What the operator is to know before it starts: choices made, and why."""
    warnings: tuple[str, ...] = ()
