"""Whatever lies on the shelf of the registry VM, no step of a snapshot, nor half of one, loses what
must not be lost.
"""

import copy
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as some

from breakglass.commands.environment import Environment
from breakglass.commands.snapshot import plan
from breakglass.commands.snapshot_facts import observe
from breakglass.config import Config, Kubernetes, Nodes, Ssh, Status
from breakglass.errors import BreakglassError
from breakglass.observe.record import LARGEST_SEQUENCE
from breakglass.observe.shelf import parse_shelf, read_shelf
from breakglass.plan import Argv, Host, Lock, Plan, Run, Step
from breakglass.ports import Result
from breakglass.registry import ImageId, State
from tests.facts import IDENTITY, IMAGE, SETTINGS, VM
from tests.local import HOST, LocalReads
from tests.unit.strategies import examples

LATEST = "infra-ci-latest.tar.gz"
TAGS = ("t0", "t1", "t2", "t3", "t4", "t5")
NAMES = {tag: f"infra-ci-{tag}.tar.gz" for tag in TAGS}
NEW, AGAIN = b"an image that was built again", b"saved again: "
GRAMMAR = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")


@dataclass(frozen=True)
class Link:
    target: str


Directory = dict[str, bytes | Link | None]
"""Name -> content; None: a directory."""


def image_of(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(b"image" + content.removeprefix(AGAIN)).hexdigest()


def record(tag: str, content: bytes, sequence: int) -> dict[str, Any]:
    return {
        **{
            "tag": tag,
            "references": [f"r.example/infra-ci:{tag}"],
            "image_id": image_of(content),
            "companions": {},
            "platform": "linux/amd64",
            "created_at": "1999",
            "version": "1",
        },
        **{
            "size_bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "sequence": sequence,
        },
    }


def prove(shelf: Directory, tag: str, *records: dict[str, Any]) -> None:
    """The sidecars, the record of the moment first."""
    shelf[f"infra-ci-{tag}.json"] = json.dumps(
        {**records[0], **({"previous": records[1]} if len(records) > 1 else {})}
    ).encode()
    shelf[f"{NAMES[tag]}.sha256"] = "".join(
        f"{each['sha256']}  {NAMES[tag]}\n" for each in records
    ).encode()


@some.composite
def shelves(draw: some.DrawFn) -> Directory:
    """Tarballs of every kind, foreign things, left-overs, and a link that may mean anything."""
    shelf: Directory = {}
    for tag in TAGS:
        kind = draw(
            some.sampled_from(
                (
                    "absent",
                    "good",
                    "good",
                    "good",
                    "corrupt",
                    "short",
                    "bare",
                    "no sum",
                    "half",
                    "another's",
                    "replaced",
                    "orphan",
                    "link",
                    "directory",
                )
            )
        )
        content, sequence = (
            f"tarball of {tag}".encode(),
            draw(some.integers(0, 9) | some.sampled_from((10**30,))),
        )
        name, proof = NAMES[tag], record(tag, content, sequence)
        if kind in ("link", "directory"):
            shelf[name] = (
                Link(draw(some.sampled_from((NAMES["t0"], "/etc/passwd"))))
                if kind == "link"
                else None
            )
            continue
        if kind != "absent":
            prove(
                shelf,
                tag,
                *(
                    (record(tag, b"older " + content, sequence), proof)
                    if kind == "replaced"
                    else (proof,)
                ),
            )
            shelf[name] = content
        if kind == "corrupt":
            shelf[name] = content.upper()
        elif kind == "short":
            shelf[name] = content[:5]
        elif kind == "another's":
            shelf[f"infra-ci-{tag}.json"] = json.dumps({**proof, "tag": "t9"}).encode()
        elif kind == "half":
            shelf[f"infra-ci-{tag}.json"] = json.dumps(proof).encode()[:30]
        for gone in {
            "bare": (f"{name}.sha256", f"infra-ci-{tag}.json"),
            "no sum": (f"{name}.sha256",),
            "orphan": (name,),
        }.get(kind, ()):
            del shelf[gone]
    foreign = (
        "infra-ci-a b.tar.gz",
        "infra-ci-a\nfile infra-ci-t0.tar.gz x 1 0 0 7.tar.gz",
        "-rf",
        "infra-ci-$(id).tar.gz",
        "notes.txt",
        "other-t0.tar.gz",
        ".infra-ci",
        "infra-ci-.tar.gz",
        ".hidden.partial",
    )
    shelf |= dict.fromkeys(draw(some.sets(some.sampled_from(foreign))), b"foreign")
    shelf |= dict.fromkeys(
        draw(
            some.sets(
                some.sampled_from(
                    (
                        ".infra-ci-t0.tar.gz.partial",
                        ".infra-ci-t8.tar.gz.partial",
                        ".infra-ci-t8.tar.gz.partial.sha256",
                        ".infra-ci-t8.json.partial",
                    )
                )
            )
        ),
        b"half",
    )
    latest = draw(
        some.sampled_from((None, *NAMES.values(), "infra-ci-gone.tar.gz", "/etc/passwd", LATEST))
    )
    return shelf | ({LATEST: Link(latest)} if latest else {})


def listing(shelf: Directory) -> bytes:
    """What the script of observe/listing.py prints of it, as the first test below proves."""
    printed = [b"present"]
    order = [
        *(
            name
            for name in sorted(shelf)
            if name.startswith("infra-ci-") and name.endswith(".tar.gz")
        ),
        *(
            name
            for end in (".partial", ".partial.sha256", ".new")
            for name in sorted(shelf)
            if name.startswith(".infra-ci-") and name.endswith(end)
        ),
    ]
    for name in order:
        what = shelf[name]
        if not set(name) <= GRAMMAR:
            continue
        if not isinstance(what, bytes):
            printed.append(
                f"link {name} {what.target}".encode() if what else f"other {name}".encode()
            )
            continue
        printed.append(f"file {name} -rw-r--r-- 1 0 0 {len(what)} Apr 19 00:00 {name}".encode())
        proof, sums = (
            (None, what)
            if name.endswith(".partial.sha256")
            else (shelf.get(name.removesuffix(".tar.gz") + ".json"), shelf.get(f"{name}.sha256"))
        )
        if name.endswith(".tar.gz") and isinstance(proof, bytes):
            printed.append(f"json {name} {len(proof)}\n".encode() + proof)
        if not name.endswith((".partial", ".new")) and isinstance(sums, bytes):
            printed += [
                b"sum %s %s" % (name.encode(), line.split()[0]) for line in sums.split(b"\n")[:-1]
            ]
    for ending in (".json", ".tar.gz.sha256"):
        alone = [
            name
            for name in sorted(shelf)
            if name.startswith("infra-ci-")
            and name.endswith(ending)
            and name.removesuffix(ending) + ".tar.gz" not in shelf
        ]
        printed += [
            f"orphan {name} {len(content)}\n".encode() + content
            for name in alone
            for content in [shelf[name]]
            if isinstance(content, bytes) and set(name) <= GRAMMAR
        ]
    return b"\n".join([*printed, b"end", b""])


class RegistryVm:
    """Implements ports.Reads; `do` does a step of a plan, and stops after each thing that it
    changes.
    """

    def __init__(self, shelf: Directory, *, saves: bytes) -> None:
        self.shelf, self._saves = copy.copy(shelf), saves
        self.served = ImageId(State.SERVES, image_of(saves))

    def ask(self, host: Host, *pipeline: Argv, quiet_seconds: float = 30.0) -> Result:  # noqa: ARG002
        words = pipeline[0]
        if words[0] == "sha256sum":
            files = {path: self.shelf[path.rpartition("/")[2]] for path in words[2:]}
            return Result(
                0,
                "".join(
                    f"{hashlib.sha256(content).hexdigest()}  {path}\n"
                    for path, content in files.items()
                    if isinstance(content, bytes)
                ).encode(),
                b"",
            )
        answers = {
            "shelf": listing(self.shelf),
            "machine": (
                b"x86_64\n999999999\nusers 0\nwalk /\nat 0 0 41ed /\n"
                b"docker\npython3\nbash\ngzip\nend\n"
            ),
            "info": b"20.10.24 overlay2 /d\n",
            "inspect": b"1\n",
            "ls": b"",
            "ps": b"",
            "/d": b"x\n/dev/x 1 1 999999999 1% /\n",
        }
        return Result(
            0, next(answers[word] for word in (*words[3:4], *words[1:]) if word in answers), b""
        )

    def do(self, step: Step) -> Iterator[None]:
        """Yields after each change of the directory: there a power cut may come."""
        if isinstance(step, Lock):
            return
        assert isinstance(step, Run)
        words, shelf = step.pipeline[-1], self.shelf
        names = [word.rpartition("/")[2] for word in words]
        if words[0] == "rm":
            for name in names[3:]:
                shelf.pop(name, None)
                yield
        elif words[0] == "ln":
            shelf[names[-1]] = Link(words[2])
            yield
        elif words[0] == "mv":
            shelf[names[-1]] = shelf.pop(names[-2])
            yield
        elif words[:3] == ("python3", "breakglass-remote.pyz", "archive") and words[3] == "pull":
            shelf[f".{words[5]}.partial"] = self._saves
            self._sequence = json.loads(words[words.index("--record") + 1])["sequence"]
            yield
        elif words[:4] == ("python3", "breakglass-remote.pyz", "archive", "publish"):
            yield from self._publish(words[5].removeprefix("infra-ci-").removesuffix(".tar.gz"))
        elif words[:4] == ("python3", "breakglass-remote.pyz", "archive", "discard"):
            for name in [
                name
                for name in shelf
                if name.startswith((f".{words[5]}.", f".{words[5].removesuffix('.tar.gz')}.json"))
            ]:
                del shelf[name]
                yield
        else:
            assert words[0] in ("mkdir", "sync", "docker"), words

    def _publish(self, tag: str) -> Iterator[None]:
        """As the script archive: while a tarball is replaced its sidecars tell both."""
        shelf, file = self.shelf, NAMES[tag]
        known = [
            each
            for each in proofs(shelf, tag)
            if each["sha256"] == hashlib.sha256(content_of(shelf, tag)).hexdigest()
        ]
        fresh = [record(tag, self._saves, self._sequence)] if f".{file}.partial" in shelf else []
        if fresh:
            prove(shelf, tag, *fresh, *known[:1])
            yield
            shelf[file] = shelf.pop(f".{file}.partial")
            yield
        prove(
            shelf,
            tag,
            *[
                each
                for each in (*fresh, *known)
                if each["sha256"] == hashlib.sha256(content_of(shelf, tag)).hexdigest()
            ][:1],
        )
        yield


def proofs(shelf: Directory, tag: str) -> list[dict[str, Any]]:
    """The records beside a tarball that its sums confirm."""
    try:
        reported = json.loads(shelf[f"infra-ci-{tag}.json"])  # type: ignore[arg-type]
        sums = shelf[f"{NAMES[tag]}.sha256"].decode()  # type: ignore[union-attr]
    except (KeyError, ValueError):
        return []
    return [
        each
        for each in (reported, reported.get("previous"))
        if each and each["tag"] == tag and each["sha256"] in sums
    ]


def content_of(shelf: Directory, tag: str) -> bytes:
    content = shelf.get(NAMES[tag])
    return content if isinstance(content, bytes) else b""


def good(shelf: Directory) -> dict[str, int]:
    """Tag -> sequence, of each tarball whose content is what a record of it says. A sequence that
    no counting leads to counts as 0.
    """
    found = {}
    for tag in TAGS:
        content = shelf.get(NAMES[tag])
        sequences = [
            each["sequence"] if each["sequence"] <= LARGEST_SEQUENCE else 0
            for each in proofs(shelf, tag)
            if isinstance(content, bytes) and each["sha256"] == hashlib.sha256(content).hexdigest()
        ]
        found.update({tag: sequences[0]} if sequences else {})
    return found


def meant(shelf: Directory) -> str | None:
    """The tag of the good tarball that `latest` means."""
    link = shelf.get(LATEST)
    return next(
        (tag for tag in good(shelf) if isinstance(link, Link) and link.target == NAMES[tag]), None
    )


def check_invariants(before: Directory, now: Directory, tag: str) -> None:
    """I1 and I2; and what is not ours to remove is as it was."""
    assert good(now) or not good(before), "I1: no good tarball is left"
    assert meant(now) or not meant(before), "I1: latest means no good tarball any more"
    unproven = {
        one for one in TAGS if isinstance(now.get(NAMES[one]), bytes) and one not in good(now)
    }
    assert all(now[NAMES[one]] == before.get(NAMES[one]) for one in unproven), (
        "I2: a tarball is without its proof that was not so before"
    )
    # What counts as verified may go in its turn; that its content is bad is known only where it was
    # hashed.
    ours = {
        NAMES[one]
        for one in TAGS
        for each in proofs(before, one)
        if len(content_of(before, one)) == each["size_bytes"]
    } | {NAMES[tag]}
    for name, content in before.items():
        is_sidecar = name.endswith((".json", ".tar.gz.sha256"))
        if (
            name != LATEST
            and name not in ours
            and not is_sidecar
            and not (name.startswith(".infra-ci-") and ".partial" in name)
        ):
            assert now.get(name, "gone") == content, name


def planned(vm: RegistryVm, tag: str, keep: int) -> Plan:
    settings = replace(SETTINGS, keep=keep)
    config = Config(
        IMAGE,
        settings,
        (),
        Nodes(),
        (),
        Ssh(Path("c"), Path("k")),
        Kubernetes(),
        Status(),
        Path("f"),
    )
    environment = Environment(
        config, vm, NoCluster(), IDENTITY, lambda _: (), lambda *_: vm.served, nothing_is_pulled
    )
    return plan(observe(environment, tag=tag), image=IMAGE, settings=settings, identity=IDENTITY)


def nothing_is_pulled(*_: str) -> Any:
    raise AssertionError("snapshot asks for the image ID only")


class NoCluster:
    def nodes(self) -> list[dict[str, Any]]:
        raise AssertionError("snapshot asks no cluster")

    pods = volumes = nodes


@examples(6)
@given(shelves())
def test_the_shelf_of_these_tests_is_listed_as_a_real_directory_is(
    tmp_path_factory: pytest.TempPathFactory, shelf: Directory
) -> None:
    directory = tmp_path_factory.mktemp("shelf")
    for name, what in shelf.items():
        if isinstance(what, Link):
            (directory / name).symlink_to(what.target)
        elif what is None:
            (directory / name).mkdir()
        else:
            (directory / name).write_bytes(what)
    assert read_shelf(LocalReads(), HOST, str(directory), "infra-ci", signers=None) == parse_shelf(
        listing(shelf), host=HOST, directory=str(directory), name="infra-ci", signers=None
    )


@examples(150)
@given(
    shelves(), some.sampled_from(TAGS), some.integers(1, 5), some.booleans(), some.integers(0, 40)
)
def test_no_prefix_of_a_snapshot_loses_what_must_stay_and_the_next_run_finishes(
    shelf: Directory, tag: str, keep: int, is_served_anew: bool, cut_after: int
) -> None:
    here = shelf.get(NAMES[tag])
    saves = NEW if is_served_anew or not isinstance(here, bytes) else AGAIN + here
    vm = RegistryVm(shelf, saves=saves)
    try:
        first = planned(vm, tag, keep)
    except BreakglassError:
        assume(False)
    changes = 0
    for step in first.steps:
        for _ in vm.do(step):
            changes += 1
            check_invariants(shelf, vm.shelf, tag)
            if changes == cut_after:
                interrupted = RegistryVm(vm.shelf, saves=saves)
                for next_step in planned(interrupted, tag, keep).steps:
                    for _ in interrupted.do(next_step):
                        check_invariants(shelf, interrupted.shelf, tag)
                check_goal(interrupted, tag, keep)
    check_goal(vm, tag, keep)
    assert {VM} == {step.host for step in first.steps if isinstance(step, Run)} or not first.steps
    kept = {one: number for one, number in good(vm.shelf).items() if one != tag}
    gone = {one: number for one, number in good(shelf).items() if one not in kept and one != tag}
    newest = min(keep, len({*good(shelf), tag}))
    assert newest <= len(good(vm.shelf)) <= newest + (tag in good(shelf)), (
        "bad tarballs count, or too many or too few went; the one that was asked for stays "
        "beside the newest"
    )
    assert not gone or not kept or max(gone.values()) <= min(kept.values()), (
        "a newer one went before an older one"
    )


def check_goal(vm: RegistryVm, tag: str, keep: int) -> None:
    assert tag in good(vm.shelf), "the tag that was asked for is not there"
    assert proofs(vm.shelf, tag)[0]["image_id"] == vm.served.image_id
    newest = max(good(vm.shelf).values())
    assert good(vm.shelf).get(meant(vm.shelf) or "") == newest, (
        "latest means something else than the newest good one"
    )
    assert planned(vm, tag, keep).steps == (), "a second run has something to do"


def test_a_json_file_of_somebody_else_that_is_named_like_a_sidecar_is_left_alone() -> None:
    vm = RegistryVm({"infra-ci-notes.json": b'{"these": "are notes of mine"}'}, saves=NEW)
    for step in planned(vm, "t0", 5).steps:
        for _ in vm.do(step):
            assert "infra-ci-notes.json" in vm.shelf, str(step)
