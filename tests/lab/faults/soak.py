"""A random sequence of commands and faults that follows from its seed; after each the invariants
hold, and where breakglass ended with 0, what it promised is there.
"""

import json
import random
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count

from .. import reset
from ..environment import Environment
from ..process import HostProcess
from ..runs import Ran, judge
from .happenings import NODES, SIGNALS, TAGS, blow, breaking
from .invariants import ANNOTATION, LATEST, Observed, observe, violations
from .trial import is_silent

LONGEST_SECONDS = 150
MAY_END_WITH = {0, 3, 4, 5, 6, 7, 10, 11}
ALONE = "one command alone, everything healed"


@dataclass
class Soak:
    """Holds what was last seen of each host: one that is down is compared when it is back."""

    environment: Environment
    seed: int
    say: Callable[[str], None]
    seen: Observed | None = None
    broken: set[str] = field(default_factory=set)
    codes: dict[int, int] = field(default_factory=dict)
    faults: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.numbers = count(1)
        self.contents = count(1)

    def begin(self) -> None:
        """A node that has the image, so that there is something to lose."""
        self.push(TAGS[0])
        for argv in (("snapshot", "--tag", TAGS[0]), ("fetch", NODES[0]), ("import", NODES[0])):
            judge(self.environment.operator.breakglass("--json", *argv), expect=0)
        self.look()

    def act(self) -> None:
        """One command, perhaps with something broken before it, perhaps with something that happens
        to it.
        """
        words = []
        if self.random.random() < 0.35:
            words.append(breaking(self.environment, self.random, self.broken))
        argv, happening = (
            self.command(),
            blow(self.environment, self.random) if self.random.random() < 0.35 else None,
        )
        self.look()
        began = time.monotonic()
        child = self.environment.operator.start_breakglass("--json", *argv)
        if happening:
            time.sleep(self.random.uniform(0.3, 3))
            child.await_catching(signal.SIGTERM)
            words.append(f"after {time.monotonic() - began:.1f} s {happening[0]}")
            happening[1](child)
        self.faults += len(words)
        code, ran = self.collect(child)
        seconds = time.monotonic() - began
        self.codes[code] = self.codes.get(code, 0) + 1
        self.say(
            f"{next(self.numbers):>4}. "
            f"{' '.join(argv)}{''.join(f'; {word}' for word in words)}{'; broken: ' + ', '.join(sorted(self.broken)) if self.broken else ''}: "  # noqa: E501
            f"exit {code} in {seconds:.1f} s"
        )
        assert seconds < LONGEST_SECONDS, f"I6: {seconds:.0f} s"
        if happening or self.random.random() < 0.5:
            self.heal()
        before = self.look()
        assert self.seen is not None
        found = violations(before, self.seen)
        if code == 0 and ran and not ran.reported["dry_run"]:
            found += [f"I5: {lie}" for lie in self.lies(argv, ran)]
        assert found == [], "\n".join(found)

    def end(self) -> None:
        """Everything healed: the whole runbook, each command reaching its goal and leaving nothing
        behind.
        """
        self.heal()
        tag, node = TAGS[-1], NODES[0]
        self.push(tag)
        for argv, hosts in (
            (("restore", "--yes"), NODES),
            (("snapshot", "--tag", tag), ("registry-vm",)),
            (("fetch", node), (node,)),
            (("import", node), (node,)),
            (("pin", node, "--yes"), ()),
            (("restore", "--yes"), NODES),
        ):
            if argv[0] == "pin":
                self.environment.cluster.kubectl("uncordon", *NODES)
                self.look()  # what was before that is not what the pin finds
            before = self.look()
            ran = judge(self.environment.operator.breakglass("--json", *argv), expect=0)
            self.look()
            assert self.seen is not None
            found = violations(
                before, self.seen, next_run=hosts if argv[0] != "restore" else ()
            ) + self.lies(argv, ran)
            assert found == [], f"{ALONE}: {' '.join(argv)}: " + "\n".join(found)
        assert not [
            name
            for name, node_object in self.environment.cluster.nodes().items()
            if ANNOTATION in node_object["metadata"].get("annotations", {})
        ]

    # what is done

    def command(self) -> tuple[str, ...]:
        node = self.random.choice(NODES)
        argv: tuple[str, ...] = self.random.choice(
            (
                ("snapshot", "--tag", self.random.choice(TAGS)),
                ("snapshot", "--tag", self.random.choice(TAGS)),
                ("fetch", node, "--via", self.random.choice(("auto", "node", "operator"))),
                ("fetch", node),
                ("import", node),
                ("import", node),
                ("pin", node, "--yes"),
                ("restore", "--yes"),
                ("restore", node, "--yes"),
                ("check",),
            )
        )
        if argv[0] == "snapshot" and self.random.random() < 0.7:
            self.push(argv[2])
        return (*argv, "--dry-run") if argv[0] != "check" and self.random.random() < 0.1 else argv

    def push(self, tag: str) -> None:
        """As CI does: a new image under its tag and `latest`."""
        if all(registry.host.running for registry in self.environment.registries):
            self.environment.small(tag, f"{tag} {next(self.contents)}")

    def heal(self) -> None:
        reset.plug_all(self.environment.always_on)
        cluster = self.environment.cluster
        for node in self.environment.nodes.values():
            boot_id = node.read("/proc/sys/kernel/random/boot_id").strip()
            try:
                cluster.await_boot(node.name, boot_id, timeout=45)
            except TimeoutError:  # after a power cut a kubelet may need a second start
                node.stop("kubelet")
                node.start("kubelet")
                cluster.await_boot(node.name, boot_id)
        self.broken.clear()

    # what is seen

    def collect(self, child: HostProcess) -> tuple[int, Ran | None]:
        try:
            stdout, stderr = child.communicate(timeout=LONGEST_SECONDS + 30)
        except subprocess.TimeoutExpired:
            child.kill()
            raise
        is_silent(stdout + stderr)
        if child.returncode in (-9, *(128 + number for number in SIGNALS)) or child.returncode < 0:
            assert "Traceback" not in stderr, stderr
            return child.returncode, None
        ran = judge(
            subprocess.CompletedProcess(child.args, child.returncode, stdout, stderr), expect=None
        )
        assert ran.exit_code in MAY_END_WITH, (
            f"exit {ran.exit_code}: {ran.reported['error']}\n{stderr}"
        )
        assert ran.exit_code in (0, 10, 11) or (ran.error["message"] and ran.error["next"]), (
            ran.reported
        )
        return ran.exit_code, ran

    def look(self) -> Observed:
        """Look again; returns what was known before."""
        now = observe(self.environment)
        before = self.seen or now
        self.seen = replace(
            now,
            shelves=before.shelves | now.shelves,
            names=before.names | now.names,
            nodes=now.nodes or before.nodes,
        )
        return before

    def lies(self, argv: tuple[str, ...], ran: Ran) -> list[str]:
        """What a run that ended with 0 had promised and is not so."""
        assert self.seen is not None
        seen = self.seen
        command, target, *_ = (*argv, "")
        marked = {
            name: json.loads(node["annotations"][ANNOTATION])["target"]
            for name, node in seen.nodes.items()
            if ANNOTATION in node["annotations"]
        }
        if command == "snapshot":
            shelf, file = seen.shelves["registry-vm"], f"infra-ci-{argv[2]}.tar.gz"
            return (
                []
                if file in shelf.proven and shelf.latest in shelf.proven
                else [f"{file} is not proven, or latest is not: {shelf}"]
            )
        if command == "fetch":
            return (
                []
                if seen.shelves[target].latest in seen.shelves[target].proven
                else [f"{LATEST} on {target} is not proven"]
            )
        if command == "import":
            found = {name: seen.names[target].get(name) for name in ran.result["names"]}
            return (
                []
                if len(found) == 4 and set(found.values()) == {ran.result["image_id"]}
                else [f"names on {target}: {found}"]
            )
        if command == "pin":
            return [
                f"{name} is open"
                for name, node in seen.nodes.items()
                if name != target and not node["spec"].get("unschedulable")
            ] + ([f"{target} is cordoned"] if target in marked else [])
        return [f"still annotated: {marked}"] if marked and argv[:2] == ("restore", "--yes") else []
