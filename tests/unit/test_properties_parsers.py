"""Whatever another host says, a reader returns facts of the types that it promises, or raises
one of our own errors.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from breakglass.commands.hosts_toml import compose
from breakglass.commands.hosts_toml_reading import endpoints, lists
from breakglass.errors import Refused, Unreachable
from breakglass.observe.answering import Answering, Site, Taken, read_answering, read_taken
from breakglass.observe.containerd import (
    Containerd,
    Ctr,
    honours_pinned,
    read_checks,
    read_containerd,
    read_image_id,
    read_targets,
)
from breakglass.observe.docker import Docker, read_docker, read_local_size
from breakglass.observe.machine import Machine, read_hashes, read_machine
from breakglass.observe.machine_ids import MachineIds, read_machine_ids
from breakglass.observe.pulls import Pull, read_pulls
from breakglass.observe.record import Record, parse_records
from breakglass.observe.shelf import Shelf, read_shelf
from breakglass.plan import Argv, Host, Lock
from breakglass.ports import Result, said
from breakglass.ssh.lock import not_taken
from breakglass.ssh.wire import Stderr, sudo_refusal
from breakglass.text import inert, version_numbers
from tests.unit.strategies import DEEP, HUGE, examples, keeps_its_word, misfits, outputs

HOST = Host("node", "root@10.0.20.10:2222", sudo=True)
CTR = Ctr(("ctr",), "k8s.io")
DIGEST = "sha256:" + "a" * 64
NAME = "registry.example:5050/infra-ci:latest"


class Says:
    """A host that answers every question with the next one of some results; to each is an answer
    that a host would give.
    """

    def __init__(
        self,
        draw: Callable[[some.SearchStrategy[Any]], Any],
        answers: Callable[[Argv], tuple[str, ...]],
    ) -> None:
        self._draw, self._answers = draw, answers

    def ask(self, host: Host, *pipeline: Argv, quiet_seconds: float = 30.0) -> Result:  # noqa: ARG002
        true = self._answers(pipeline[0])
        status = self._draw(
            some.sampled_from([0] * 12 + [1, 2, 3, 4, 5, 6, 7, 10, 126, 127, 255, -1, None])
        )
        return Result(
            status,
            self._draw(outputs(*true)),
            self._draw(
                some.just(b"")
                | outputs("sudo: a password is required\n", "cannot open: No such file\n")
            ),
            "the connection was lost" if status is None else "",
        )


# What hosts say when all is well

RECORD = json.dumps(
    {
        "tag": "0a1b",
        "references": [NAME],
        "image_id": DIGEST,
        "companions": {NAME: DIGEST},
        "platform": "linux/amd64",
        "size_bytes": 5,
        "sha256": "a" * 64,
        "sequence": 3,
        "created_at": "now",
        "version": "1",
    }
)
SHELF = f"""present
file infra-ci-0a1b.tar.gz -rw-r--r-- 1 0 0 5 Apr 19 00:00 infra-ci-0a1b.tar.gz
json infra-ci-0a1b.tar.gz {len(RECORD)}
{RECORD}
sum infra-ci-0a1b.tar.gz {"a" * 64}
link infra-ci-latest.tar.gz infra-ci-0a1b.tar.gz
other infra-ci-x.tar.gz
file .infra-ci-2.tar.gz.partial -rw-r--r-- 1 0 0 7 Apr 19 00:00 .infra-ci-2.tar.gz.partial
sum .infra-ci-2.tar.gz.partial {"b" * 64}
orphan infra-ci-3.json
end
"""
TAKEN = {
    "record": {
        "schema": 1,
        "namespace": "k8s.io",
        "files": {
            "/etc/hosts.toml": {
                "original": {"text": "x", "mode": 420},
                "made": ["/etc"],
                "written": "y",
            }
        },
    },
    "responder": True,
    "now": {"/etc/hosts.toml": "y"},
    "strays": ["/etc/other.toml"],
}
SITE = {
    "file": "/certs/r/hosts.toml",
    "linked": False,
    "text": 'server = "https://r"\n',
    "default": None,
    "default_file": "",
    "ca": ["/ca"],
    "client": [["/c", "/k"]],
    "fault": "",
}
CONFIGURATION = (
    'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "/certs"\n'
)
CONTAINERD = {
    "configuration": CONFIGURATION,
    "file": "/etc/containerd/config.toml",
    "fault": "",
    "version": "1.7.24",
    "root": "",
    "newer": "",
}
READ = {**TAKEN, "sites": {"r": SITE}, "containerd": [CONTAINERD], "content": "/var/lib/containerd"}
STATUS = {
    "pids": [1],
    "port": 5000,
    "answers": {NAME: DIGEST},
    "free_port": 5000,
    "survives_reboot": True,
    "foreign_unit": "",
}
PULLS = [
    {
        "registry": "r",
        "url": "https://r",
        "repository": "infra-ci",
        "tag": "latest",
        "state": "broken",
        "detail": "gone",
        "missing": [DIGEST],
    }
]
MANIFEST = {
    "schemaVersion": 2,
    "config": {"digest": DIGEST, "size": 2},
    "layers": [{"digest": DIGEST, "size": 5}],
}
INDEX = {"manifests": [{"digest": DIGEST, "platform": {"os": "linux", "architecture": "amd64"}}]}
TOML = (
    (
        'server = "https://r"\n[host."https://m"]\n  capabilities = ["pull"]\n  ca = "/ca"\n  '
        'client = [["/c", "/k"]]\n  skip_verify = false\n[host."https://m".header]\n  x = ["1"]\n'
    ),
    '[host]\n  [host."http://a"]\n[host.b]\nca = ["x", "y"]\n',
    'host = "x"\n',
    "server = 1979-05-27T07:32:00Z\nca = { a = 1 }\n",
)

BOOT_ID = "5c4d419d-c6a3-4271-9939-8a08758c6978"


def of_a_node(argv: Argv) -> tuple[str, ...]:
    """What each of our questions is answered with."""
    listing = (
        f"REF TYPE DIGEST SIZE PLATFORMS LABELS\n{NAME} application/x {DIGEST} 5.0 MiB "
        f"linux/amd64 io.cri-containerd.pinned=pinned\n"
    )
    check = (
        f"REF TYPE DIGEST STATUS SIZE UNPACKED\n{NAME} application/x {DIGEST} complete (2/2) 5.0 "
        f"MiB/5.0 MiB true\n"
    )
    known: dict[Argv, tuple[str, ...]] = {
        ("python3", "breakglass-remote.pyz", "taken"): (json.dumps(READ),),
        ("python3", "breakglass-remote.pyz", "responder"): (json.dumps(STATUS),),
        ("python3", "breakglass-remote.pyz", "registries"): (json.dumps(PULLS),),
        ("sh", "-c"): (SHELF, "absent\n")
        if "shelf" in argv
        else (f"{BOOT_ID}\n{'0' * 32}\nend\n", f"{BOOT_ID}\n\nend\n")
        if "machine-ids" in argv
        else ("x86_64\n1000000\npython3\nend\n",),
        ("docker", "info"): (
            "20.10.24 overlay2 /var/lib/docker\n",
            "28.1.0 overlayfs /var/lib/docker\n",
        ),
        ("docker", "image"): ("777000000\n",),
        ("containerd", "config"): ('root = "/var/lib/containerd"\n', ""),
        ("df", "-Pk"): (
            (
                "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/sda1 100 50 50 "
                "50% /\n"
            ),
        ),
        ("sha256sum", "--"): (f"{'a' * 64}  /shelf/x\n",),
        ("ctr", "version"): ("Client:\n  Version:  1.7.24\nServer:\n  Version:  v1.7.24~ds1\n",),
    }
    if argv[:3] == CTR.line()[:3]:
        return {
            "ls": (listing,),
            "check": (check,),
            "get": (json.dumps(MANIFEST), json.dumps(INDEX)),
        }[argv[4]]
    return known[argv[:3] if argv[0] == "python3" else argv[:2]]


READERS: dict[str, tuple[Callable[[Any], object], Any]] = {
    "machine": (lambda reads: read_machine(reads, HOST, ("/shelf",), ("python3",)), Machine),
    "which machine it is": (lambda reads: read_machine_ids(reads, HOST), MachineIds),
    "hashes": (lambda reads: read_hashes(reads, HOST, ("/shelf/x",)), dict[str, str]),
    "docker": (lambda reads: read_docker(reads, HOST), Docker),
    "docker's choice of platform": (
        lambda reads: read_docker(reads, HOST).save_wants_platform,
        bool,
    ),
    "size of a local image": (lambda reads: read_local_size(reads, HOST, NAME), int | None),
    "shelf": (lambda reads: read_shelf(reads, HOST, "/shelf", "infra-ci", signers=None), Shelf),
    "containerd": (
        lambda reads: read_containerd(reads, HOST, CTR, names=(NAME,), architecture="amd64"),
        Containerd,
    ),
    "whether containerd honours a label": (
        lambda reads: honours_pinned(
            read_containerd(reads, HOST, CTR, names=(NAME,), architecture="amd64").version
        ),
        bool,
    ),
    "names in containerd": (lambda reads: read_targets(reads, HOST, CTR), dict[str, str]),
    "unpacked": (
        lambda reads: read_checks(reads, HOST, CTR, (NAME,)),
        tuple[frozenset[str], frozenset[str]],
    ),
    "image ID": (lambda reads: read_image_id(reads, HOST, CTR, DIGEST, "amd64"), str | None),
    "what was taken": (
        lambda reads: read_taken(reads, HOST, "/var/breakglass", certs="/certs"),
        Taken,
    ),
    "what answers": (
        lambda reads: read_answering(
            reads, HOST, "/var/breakglass", certs="/certs", registries=("r",), ctr=CTR
        ),
        tuple[Taken, Answering],
    ),
    "what registries do": (
        lambda reads: read_pulls(reads, HOST, [{"registry": "r"}]),
        tuple[Pull, ...],
    ),
}


@pytest.mark.parametrize("reader", READERS)
@examples(40)
@given(data=some.data())
def test_a_reader_returns_facts_or_one_of_our_errors_whatever_the_host_answers(
    reader: str, data: some.DataObject
) -> None:
    read, promised = READERS[reader]
    keeps_its_word(lambda: read(Says(data.draw, of_a_node)), promised)


@pytest.mark.parametrize("reader", sorted({*READERS} - {"size of a local image"}))
def test_a_host_that_gave_no_answer_has_neither_bad_content_nor_none(reader: str) -> None:
    class Silent:
        def ask(self, *_: object, **__: object) -> Result:
            return Result(None, b"", b"", "it gave no sign of life for 30 s")

    with pytest.raises((Unreachable, Refused), match="no sign of life"):
        READERS[reader][0](Silent())


STATUSES: tuple[dict[str, object], ...] = (
    {"free_port": "x"},
    {"free_port": float("inf")},
    {"port": "x"},
    {"content": 5},
    {"sites": {}},
    {"containerd": None},
    {"containerd": []},
)
SITES: tuple[dict[str, object], ...] = (
    {"client": [["a"]]},
    {"file": ["x"]},
    {"text": 5},
    {"default": {}},
    {"linked": 3},
    {"ca": [1]},
)
ONCE_BUGS = [
    ("machine", "x86_64\n²\nend\n"),
    ("machine", f"x86_64\n{HUGE}\nend\n"),
    ("docker", "20 overlay2 /d ² 5"),
    ("size of a local image", "²"),
    ("what was taken", "[]"),
    ("what was taken", DEEP),
    ("what registries do", "5"),
    ("what registries do", "[{}]"),
    *(("what answers", json.dumps({**READ, **STATUS, **odd})) for odd in STATUSES),
    *(
        ("what answers", json.dumps({**READ, **STATUS, "sites": {"r": {**SITE, **odd}}}))
        for odd in SITES
    ),
    *(
        (
            "what answers",
            json.dumps(
                {**READ, **STATUS, "containerd": [{**CONTAINERD, "configuration": f"a = {odd}"}]}
            ),
        )
        for odd in (HUGE, DEEP)
    ),
]


@pytest.mark.parametrize(("reader", "answer"), ONCE_BUGS, ids=range(len(ONCE_BUGS)))
def test_nonsense_that_a_reader_once_fell_over_is_one_of_our_errors(
    reader: str, answer: str
) -> None:
    read, promised = READERS[reader]

    class Always:
        def ask(self, host: Host, *pipeline: Argv, quiet_seconds: float = 30.0) -> Result:  # noqa: ARG002
            return Result(0, answer.encode(), b"")

    keeps_its_word(lambda: read(Always()), promised)


@examples(100)
@example(RECORD.replace('"sequence": 3', f'"sequence": {"9" * 4300}').encode())
@example(RECORD.replace("linux/amd64", "\\ud800").encode())
@example((RECORD[:-1] + ', "x": ' + "[" * 993 + "]" * 993 + "}").encode())
@given(outputs(RECORD))
def test_a_sidecar_is_a_record_that_can_be_written_again_or_it_is_none(content: bytes) -> None:
    records = parse_records(content)
    assert not list(misfits(records, list[Record], "it"))
    for record in records:
        # As snapshot and fetch do with it.
        json.dumps({"sequence": record.sequence + 1}, separators=(",", ":"))
        "".join(
            (record.text, *record.references, record.platform, record.version, record.created_at)
        ).encode()


@examples(100)
@example(f"a = {HUGE}".encode(), False)
@example(f"a = {DEEP}".encode(), True)
@given(some.sampled_from(TOML).flatmap(outputs), some.booleans())
def test_any_hosts_toml_is_either_parsed_or_refused(content: bytes, first: bool) -> None:
    text = content.decode("utf-8", "replace")
    for original, default in ((text, None), (None, text)):
        site = Site("r", "/certs/r/hosts.toml", text=original, default=default)

        def composed(site: Site = site, original: str | None = original) -> tuple[str, ...]:
            return compose(site, original, address="http://127.0.0.1:5000", first=first).lines

        def named(site: Site = site, original: str | None = original) -> list[dict[str, Any]]:
            return endpoints(site, original)

        keeps_its_word(composed, tuple[str, ...])
        keeps_its_word(named, list[dict[str, Any]])
    keeps_its_word(lambda: lists(text, "http://127.0.0.1:5000", first=first), bool)


@examples(60)
@example(b'{"holder": "x", "age_seconds": []}', 7, b"")
@example(b'{"holder": "x", "age_seconds": Infinity}', 7, b"")
@example(DEEP.encode(), 7, b"")
@given(
    outputs('{"holder": "root@operator, run 1", "age_seconds": 5}\n'),
    some.sampled_from([0, 1, 4, 7, 255, None]),
    outputs("it is a symbolic link\n"),
)
def test_a_lock_that_was_not_taken_is_reported_whatever_its_script_says(
    answer: bytes, status: int | None, stderr: bytes
) -> None:
    error = not_taken(
        Lock(HOST, "/var/breakglass/.breakglass.lock", "me"),
        Result(status, answer, stderr, "lost"),
        answer,
    )
    assert error.message.isprintable()


@examples(60)
@given(
    some.lists(outputs("@progress 5\nsudo: a password is required\n"), max_size=4),
    some.sampled_from([0, 1, None]),
)
def test_no_stderr_is_too_much(parts: list[bytes], status: int | None) -> None:
    stderr = Stderr(lambda done: json.dumps(done))  # type: ignore[arg-type]
    for part in parts:
        stderr.feed(part)
    text = stderr.text()
    sudo_refusal((("true",),), status, b"", text)
    assert said(Result(status, b"", text)).isprintable()


@examples(60)
@given(outputs("v1.30.2", "1.7.24~ds1").map(lambda output: output.decode("utf-8", "replace")))
def test_any_text_is_a_version_or_none_and_can_be_made_inert(text: str) -> None:
    assert version_numbers(text) is None or len(version_numbers(text) or ()) == 3
    assert inert(text).isprintable()
    assert len(inert(text)) <= 400
