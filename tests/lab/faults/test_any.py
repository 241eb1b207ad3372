"""The faults that any command can meet: host keys, no terminal, what hosts print, what people
type.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .. import listing, pki, seed
from ..environment import Environment
from ..host import Host
from ..operator_host import program, variables
from ..roles import ADDRESSES, SSH_HOSTS
from .arrangements import TAG, held, published
from .injections import contacts, in_front_of
from .rows import row
from .test_pin import OTHERS, PIN, RESTORE, is_pinned, is_unchanged, open_nodes
from .trial import Trial

KNOWN = "/root/.ssh/known_hosts"
WHERE = {
    "registry-vm": ("snapshot", "--tag", TAG),
    "synology": ("fetch", "k8s-node1", "--from", "synology", "--via", "operator"),
    "k8s-node1": ("fetch", "k8s-node1"),
}


def fingerprint(host: Host, public: str) -> str:
    host.write("/run/lab/key.pub", public)
    return host.run("ssh-keygen", "-lf", "/run/lab/key.pub").stdout.split()[1]


def another_key(host: Host) -> str:
    """The public half of a key that no host has."""
    for path in ("/run/lab/another", "/run/lab/another.pub"):
        host.path(path).unlink(missing_ok=True)
    host.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/run/lab/another")
    return " ".join(host.read("/run/lab/another.pub").split()[:2])


def is_not_logged_in_to(host: Host, since: int, *, client: str) -> None:
    """A connection came and ended, and nobody asked to be let in: sshd at VERBOSE tells every
    attempt.
    """
    reported = host.log("sshd")[since:]
    assert f"Connection from {ADDRESSES[client]}" in reported, reported
    attempts = [
        line
        for line in reported.splitlines()
        if any(
            word in line
            for word in (
                "Accepted",
                "Failed",
                "Postponed",
                "authenticating user",
                "Invalid user",
                "userauth",
            )
        )
    ]
    assert [line for line in attempts if ADDRESSES[client] in line] == []


@pytest.mark.parametrize("where", WHERE)
@row(
    "any",
    "host key unknown, or changed",
    (
        "exit 5 before any login: the server's log has no attempt; the fingerprints and the line "
        "to pin are shown"
    ),
    exit_code=5,
    within_seconds=30,
)
def test_a_host_key_that_is_not_on_record_is_refused_before_anything_is_sent(
    trial: Trial, where: str
) -> None:
    environment, operator, host = (
        trial.environment,
        trial.environment.operator,
        trial.environment.host(where),
    )
    published(environment)
    environment.mirror()
    trial.arranged()
    others = tuple(name for name in SSH_HOSTS if name != where)
    known, offered, wrong = (
        operator.read(KNOWN),
        pki.text(f"{where}-ed25519.pub"),
        another_key(operator),
    )
    for line in ("", f"{ADDRESSES[where]} {wrong}\n"):
        operator.write(KNOWN, seed.known_hosts(others) + line, mode=0o600)
        since = len(host.log("sshd"))
        error = trial.run(*WHERE[where]).error
        assert fingerprint(operator, offered) in error["message"]
        assert (
            f"{ADDRESSES[where]} {' '.join(offered.split()[:2])}"
            in error["message"] + error["next"]
        )
        if line:
            assert "is not the one on record" in error["message"]
            assert fingerprint(operator, wrong) in error["message"]
            assert (
                f"ssh-keygen -R {ADDRESSES[where]} -f {KNOWN}" in error["message"] + error["next"]
            )
        is_not_logged_in_to(host, since, client="operator")
    operator.write(KNOWN, known, mode=0o600)
    trial.recovers(*({"k8s-node1"} if WHERE[where][0] == "fetch" else {where}))


@row(
    "fetch",
    "the node does not know its source's host key, or knows another one (--via node)",
    "exit 5 before any login of the node; the host key is named as the reason",
    exit_code=5,
)
def test_a_node_that_does_not_know_the_source_sends_nothing_to_it(trial: Trial) -> None:
    environment, node = trial.environment, trial.environment.nodes["k8s-node1"]
    published(environment)
    trial.arranged()
    known, wrong = node.read(KNOWN), another_key(node)
    for line in ("", f"{ADDRESSES['registry-vm']} {wrong}\n"):
        node.write(KNOWN, line, mode=0o600)
        since = len(environment.vm.log("sshd"))
        error = trial.run("fetch", "k8s-node1", "--from", "registry-vm", "--via", "node").error
        assert "host key" in error["message"].lower()
        assert error["next"]
        assert node.read(KNOWN) == line
        is_not_logged_in_to(environment.vm, since, client="k8s-node1")
    node.write(KNOWN, known, mode=0o600)
    trial.recovers("k8s-node1")


@row(
    "pin, restore",
    "no terminal and a confirmation needed",
    "exit 2 naming --yes, nothing changed",
    exit_code=2,
    within_seconds=30,
)
def test_without_a_terminal_and_without_yes_nothing_is_changed_and_the_flag_is_named(
    trial: Trial,
) -> None:
    environment = trial.environment
    held(environment, "k8s-node1")
    trial.arranged()
    assert "--yes" in trial.run("pin", "k8s-node1").error["next"]
    is_unchanged(trial)
    assert environment.operator.breakglass(*PIN).returncode == 0
    assert "--yes" in trial.run("restore").error["next"]
    assert is_pinned(environment)
    trial.recovers(
        "k8s-node1", argv=RESTORE, goal=lambda: open_nodes(environment) == {"k8s-node1", *OTHERS}
    )


LINE = (
    rb"[/root] [bold]x[/bold] \x1b[31mred\x1b]0;title\x07\x1b[2J \xff\xfe\xc3( \xe2\x80\xae "
    rb"\x9b31m {0}"
)
NOISE = "/usr/local/share/noise"
NOISY = {
    ("snapshot", "--tag", TAG, "--via", "docker"): ("registry-vm", "docker"),
    ("fetch", "k8s-node1"): ("k8s-node1", "uname"),
    ("import", "k8s-node1"): ("k8s-node1", "ctr"),
    PIN: ("k8s-node1", "ctr"),
    RESTORE: ("k8s-node1", "ctr"),
}


def lay_noise(host: Host) -> None:
    line = LINE.decode("unicode_escape").encode("latin-1") + b"\n"
    host.write(NOISE, line * (4_000_000 // len(line)))


def is_inert(text: str) -> None:
    strange = {character for character in text if not character.isprintable()} - {"\n"}
    assert strange == set(), f"printed as it came: {strange}"


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from texts(each)


@row(
    "any",
    (
        "remote output with [/root], ESC, invalid UTF-8 and megabytes on stderr, and the command "
        "succeeds"
    ),
    "no dead-lock, nothing of it obeyed by the terminal, the goal is reached",
    exit_code=0,
)
def test_megabytes_of_noise_on_stderr_neither_stop_a_command_nor_reach_the_terminal(
    trial: Trial,
) -> None:
    environment = trial.environment
    published(environment)
    trial.arranged()
    for argv, (name, command) in NOISY.items():
        host = environment.host(name)
        lay_noise(host)
        with in_front_of(host, command, f'cat {NOISE} >&2; exec $real "$@"'):
            ran = trial.run(*argv, "--verbose")
        is_inert(ran.stderr)
        for text in texts(ran.reported):
            is_inert(text)
    trial.recovers("k8s-node1", argv=PIN, goal=lambda: is_pinned(environment))


@row(
    "any",
    "such output, and the command fails",
    "the words are printed inert in the error block",
    exit_code=(3, 4, 5, 6),
)
def test_what_a_failing_command_prints_is_shown_inert(trial: Trial) -> None:
    environment = trial.environment
    held(environment, "k8s-node1")
    environment.operator.breakglass("import", "k8s-node1")
    environment.vm.path("/opt/registry/data/private/_breakglass/infra-ci-latest.tar.gz").unlink()
    trial.arranged()
    for argv, (name, command) in NOISY.items():
        host = environment.host(name)
        lay_noise(host)
        with in_front_of(host, command, f"cat {NOISE} >&2; exit 1"):
            ran = trial.run(*argv, "--verbose")
        assert ran.exit_code, f"{argv}: exit 0"
        assert "[/root] [bold]x[/bold]" in ran.error["message"], ran.error
        is_inert(ran.stderr)
        for text in texts(ran.reported):
            is_inert(text)
    trial.recovers("k8s-node1", argv=PIN, goal=lambda: is_pinned(environment))


WORDS = (
    ";touch /tmp/x",
    "$(id)",
    "`id`",
    "-rf",
    "a b",
    f"{TAG}\n",
    "a\nb",
    "../../etc",
    "/etc",
    "a\x1b[31m",
    "é",
    "a'b",
    'a"b',
    "x" * 300,
    "|id",
    "a&b",
    "*",
    "~",
    "\u202ea",
    "a\\b",
)
"""None is a tag, a node, a host, a user, a reference or an absolute path."""


def typed(
    environment: Environment, *table: tuple[tuple[str, ...], dict[str, str]]
) -> list[tuple[int, str, str]]:
    python = str(Path(program()).with_name("python"))
    script = Path(__file__).with_name("typed.py")
    ended = environment.operator.run(
        python, "-I", str(script), input=json.dumps(table), env=variables(None), cwd="/root"
    )
    return [(code, out, err) for code, out, err in json.loads(ended.stdout)]


@row(
    "any",
    "tags, nodes, sources such as `;touch x`, `$(id)`, `-rf`, with newlines",
    "exit 2 before anything is contacted: not one packet leaves",
    exit_code=2,
)
def test_hostile_arguments_end_with_2_before_a_packet_is_sent(trial: Trial) -> None:
    environment = trial.environment
    published(environment)
    before, began = listing.files(environment.operator, "/tmp"), contacts(environment.operator)
    shapes = [
        ("snapshot", "--tag={}"),
        ("check", "--tag={}"),
        ("fetch", "k8s-node1", "--tag={}"),
        ("fetch", "k8s-node1", "--from={}"),
        ("fetch", "k8s-node1", "--via={}"),
    ]
    shapes += [
        ("import", "k8s-node1", "--tag={}"),
        ("--config={}", "check"),
        *((command, "--", "{}") for command in ("fetch", "import", "pin", "restore")),
        ("restore", "--yes", "--", "k8s-node1", "{}"),
    ]
    table: list[tuple[tuple[str, ...], dict[str, str]]] = [
        (("--json", *(part.replace("{}", word) for part in shape)), {})
        for shape in shapes
        for word in WORDS
        if (shape[0], word) != ("--config={}", "/etc")
    ]
    # Of a commit the first 8 characters count.
    table += [
        (("--json", "snapshot"), {"CI_COMMIT_SHA": word})
        for word in WORDS
        if not word.startswith(("x", TAG))
    ]
    for (argv, _), (code, out, err) in zip(table, typed(environment, *table), strict=True):
        assert code == 2, f"{argv}: exit {code}\n{out}{err}"
        assert json.loads(out)["error"]["kind"] == "usage", f"{argv}: {out}"
        is_inert(err)
    assert trial.row.exit_codes == (2,)
    assert environment.operator.breakglass("fetch", "$(id)").returncode == 2
    assert contacts(environment.operator) == began
    assert listing.files(environment.operator, "/tmp") == before


def hostile_configuration(word: str) -> dict[str, Any]:
    """Every key has the word for its value."""
    return {
        "image": {
            "repository": f"registry.example/{word}",
            "name": word,
            "also_known_as": [f"registry.example/x:{word}"],
            "companions": [f"registry.example/{word}:x"],
        },
        "registry_vm": {"ssh": word, "directory": f"/opt/{word}", "keep": word, "sudo": word},
        "fallbacks": [{"name": word, "ssh": f"root@{word}", "directory": word}],
        "nodes": {
            "ssh_user": word,
            "hosts": {word: "10.0.20.101", "k8s-node1": word},
            "directory": word,
            "sudo": word,
            "ctr": [word],
            "namespace": word,
            "registry_config": word,
            "answer_pulls": word,
            "tolerates": [word],
            "selector": {"role": word},
        },
        "registries": [{"name": word, "url": f"https://{word}", "repository": word, "ca": word}],
        "ssh": {"config": word, "known_hosts": word, "connect_timeout_seconds": word},
        "kubernetes": {"kubeconfig": word, "context": word},
        "status": {"max_age_hours": word},
    }


def keys(document: Any, at: str = "") -> Iterator[str]:
    for key, value in document.items() if isinstance(document, dict) else enumerate(document):
        path = f"{at}[{key}]" if isinstance(key, int) else f"{at}.{key}".lstrip(".")
        if isinstance(value, (dict, list)):
            yield from keys(value, path)
        else:
            yield path


FILES = ("ssh.config", "ssh.known_hosts", "kubernetes.kubeconfig", "registries[0].ca")


@pytest.mark.parametrize(
    "word",
    [
        ";touch /tmp/x",
        "-rf",
        *(
            pytest.param(word, marks=pytest.mark.thorough)
            for word in ("$(id)", "`id`", "a\nb", "\x1b[31m")
        ),
    ],
)
@row(
    "any",
    "such values in every key of the configuration",
    "exit 2, every key is named, nothing contacted",
    exit_code=2,
)
def test_hostile_values_in_the_configuration_are_all_named_before_a_packet_is_sent(
    trial: Trial, word: str
) -> None:
    environment = trial.environment
    document = hostile_configuration(word)
    environment.operator.write("/root/hostile.yaml", json.dumps(document))
    began = contacts(environment.operator)
    [(code, out, err)] = typed(
        environment, (("--json", "--config", "/root/hostile.yaml", "check"), {})
    )
    error = json.loads(out)["error"]
    assert code == 2, err
    # A file of this machine may be called -rf, and so may a directory's part on another host: a
    # path is never taken for an option.
    fine = {*FILES, "registry_vm.directory"} if word == "-rf" else set()
    # nodes.ctr is judged as a whole.
    named = {key: key.replace(f".{word}", "").replace("ctr[0]", "ctr") for key in keys(document)}
    unnamed = {key for key in named if f"{named[key]}: " not in error["message"]} - fine
    assert unnamed == set(), f"not named: {unnamed}\n{error['message']}"
    assert contacts(environment.operator) == began
    is_inert(err)
