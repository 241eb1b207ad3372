"""No secret in what is printed, in argv, in the variables of a child, in a file: planted strings,
looked for on every host while the commands run.
"""

import base64
import functools
import json
import signal
from collections.abc import Mapping
from typing import Any

import pytest

from .. import furniture, pki
from ..environment import Environment
from ..host import Host
from ..reset import empty
from .arrangements import TAG, published
from .injections import contacts, paused, until
from .rows import row
from .secrets import in_files, watched
from .test_pin import is_unchanged
from .trial import Trial

TOKEN, PASSWORD, HEADER = "canary-token-5c0e", "canary-password-91aa", "canary-header-3f77"
AUTHS = "/root/auths.json"


def middle(text: str) -> bytes:
    """A line of a private key that only its owner has: the first ones are the same for all, or
    public.
    """
    return [line for line in text.splitlines() if not line.startswith("-----")][-2].encode()


def plant(environment: Environment) -> tuple[dict[str, bytes], dict[str, str]]:
    """What is looked for, and the variables that it is given to breakglass in."""
    operator = environment.operator
    ssh_key, tls_key = pki.text("operator"), pki.text("breakglass.key")
    login = {"username": "ci", "password": PASSWORD}
    operator.write(
        AUTHS, json.dumps({"auths": dict.fromkeys(furniture.REGISTRY_HOSTS, login)}), mode=0o600
    )
    for registry in furniture.REGISTRY_HOSTS:
        for node in environment.nodes.values():
            header = (
                f'  [host."https://{registry}".header]\n    authorization = ["Bearer {HEADER}"]\n'
            )
            node.write(
                f"/etc/containerd/certs.d/{registry}/hosts.toml",
                furniture.hosts_toml(registry) + header,
            )
    canaries = {
        "SSH key": middle(ssh_key),
        "registry password": PASSWORD.encode(),
        "registry login": base64.b64encode(f"ci:{PASSWORD}".encode()),
        "client key": middle(tls_key),
        "client key in base64": base64.b64encode(tls_key.encode())[40:100],
        "token": TOKEN.encode(),
        "header of hosts.toml": HEADER.encode(),
    }
    return canaries, {"BREAKGLASS_SSH_KEY": ssh_key, "REGISTRY_AUTH_FILE": AUTHS}


def fails(trial: Trial, canaries: Mapping[str, bytes], env: Mapping[str, str], *argv: str) -> None:
    """--verbose shows chained causes, so that a traceback is none of a bug; an exit code is among
    the row's.
    """
    ended = trial.environment.operator.breakglass("--json", "--verbose", *argv, env=env)
    assert ended.returncode in trial.row.exit_codes, ended.stderr
    is_silent(ended.stdout + ended.stderr, canaries)


def is_silent(reported: str, canaries: Mapping[str, bytes]) -> None:
    assert [name for name, secret in canaries.items() if secret in reported.encode()] == [], (
        reported
    )


def left_over(environment: Environment, canaries: Mapping[str, bytes]) -> list[str]:
    """Where the secrets lie afterwards: nowhere but where they were put."""
    planted = (
        AUTHS,
        "/root/.kube/config",
        "/root/.kube/admin.config",
        "/root/.kube/other-admin.config",
    )
    return [
        line
        for name in ("operator", "registry-vm", *environment.nodes)
        for line in in_files(environment.host(name), canaries, but=planted)
    ]


def test_a_secret_in_argv_or_environment_or_a_file_of_any_host_is_seen(fresh: Environment) -> None:
    canaries, _ = plant(fresh)
    with watched(fresh, canaries) as seen:
        fresh.vm.run("sh", "-c", "sleep 0.3; :", TOKEN)
        fresh.nodes["k8s-node3"].run("sleep", "0.3", env={"X": PASSWORD})
    assert {line.partition(" of ")[0] for line in seen} == {
        "token: registry-vm: argv",
        "registry password: k8s-node3: environment",
    }
    fresh.operator.write("/tmp/x", HEADER)
    fresh.vm.write("/var/tmp/x/y", f"a{TOKEN}")
    assert left_over(fresh, canaries) == [
        "header of hosts.toml in operator:/tmp/x",
        "token in registry-vm:/var/tmp/x/y",
    ]
    fresh.operator.path("/tmp/x").unlink()


@row(
    "any",
    "all five commands with secrets planted in every place that is read",
    "none in output, argv, environments, temporary files",
    exit_code=0,
)
def test_no_secret_is_seen_anywhere_while_all_five_commands_do_their_work(trial: Trial) -> None:
    environment = trial.environment
    published(environment, TAG)
    environment.small("1b2c3d4e", "two")
    trial.arranged()
    canaries, variables = plant(environment)
    empty(environment.operator.path("/tmp"))
    environment.operator.path("/root/.ssh/id_ed25519").rename(
        environment.operator.path("/root/.ssh/id_ed25519.away")
    )
    commands = (
        ("snapshot", "--tag", "1b2c3d4e"),
        ("fetch", "k8s-node1"),
        ("fetch", "k8s-node2", "--via", "operator"),
        ("import", "k8s-node1"),
        ("pin", "k8s-node1", "--yes"),
        ("restore", "--yes"),
    )
    try:
        with watched(environment, canaries) as seen:
            for argv in commands:
                ran = trial.run(*argv, "--verbose", env=variables)
                is_silent(json.dumps(ran.reported) + ran.stderr, canaries)
                if argv[0] == "import":
                    record = environment.nodes["k8s-node1"].path("/var/breakglass/.breakglass.json")
                    assert HEADER in record.read_text()
                    assert record.stat().st_mode & 0o077 == 0, (
                        "what hosts.toml holds is readable for others in our record"
                    )
    finally:
        environment.operator.path("/root/.ssh/id_ed25519.away").rename(
            environment.operator.path("/root/.ssh/id_ed25519")
        )
    assert seen == set()
    assert left_over(environment, canaries) == []
    is_unchanged(trial)
    trial.recovers("k8s-node1", argv=("pin", "k8s-node1", "--yes"))


def has_called(host: Host, since: int) -> bool:
    return contacts(host) > since


@row(
    "any",
    "killed while it talks to the API, with secrets planted",
    "no key of the kubeconfig is left in a file",
    exit_code=(-9, 0),
)
def test_a_run_that_is_killed_leaves_no_key_in_a_temporary_file(trial: Trial) -> None:
    environment, operator = trial.environment, trial.environment.operator
    canaries, variables = plant(environment)
    empty(operator.path("/tmp"))
    trial.arranged()
    with paused(environment.api, "etcd"):
        for signals in ((signal.SIGKILL,), (signal.SIGTERM,), (signal.SIGINT, signal.SIGINT)):
            since = contacts(operator)
            child = trial.start("restore", "--yes", env=variables)
            until(
                functools.partial(has_called, operator, since), child=child, what="the API is asked"
            )
            for number in signals:
                child.send_signal(number)
            trial.killed(child)
            assert left_over(environment, canaries) == [], signals
    environment.cluster.await_ready()
    trial.recovers(argv=("restore", "--yes"))


def kubeconfig(**changed: Any) -> str:
    document = json.loads(furniture.kubeconfig("breakglass"))
    document["users"][0]["user"] = changed.pop("user", document["users"][0]["user"])
    document["clusters"][0]["cluster"] |= changed
    return json.dumps(document)


@row(
    "any",
    (
        "secrets planted, and a failure: wrong password, key refused, key damaged, TLS not "
        "trusted, token refused, kubeconfig damaged"
    ),
    "the error says what is wrong and shows no secret, --verbose included",
    exit_code=(2, 3, 4, 5),
)
@pytest.mark.thorough
def test_no_secret_is_seen_when_logins_fail(trial: Trial) -> None:
    environment, operator = trial.environment, trial.environment.operator
    published(environment)
    canaries, variables = plant(environment)
    empty(operator.path("/tmp"))
    key = variables["BREAKGLASS_SSH_KEY"]
    stranger = pki.text("api.key")
    canaries["another key"] = middle(stranger)
    operator.path("/root/.ssh/id_ed25519").rename(operator.path("/root/.ssh/id_ed25519.away"))
    good = operator.read("/root/.kube/config")
    other_authority = base64.b64encode(pki.text("kubernetes-ca.crt").encode()).decode()
    tokens = (
        {"token": TOKEN},
        {"tokenFile": "/root/.kube/token"},
        {
            "exec": {
                "apiVersion": "client.authentication.k8s.io/v1",
                "command": "/bin/echo",
                "args": [TOKEN],
                "interactiveMode": "Never",
            }
        },
    )
    documents = [
        *(kubeconfig(user=user) for user in tokens),
        kubeconfig(**{"certificate-authority-data": other_authority}),
        f"users:\n- name: {TOKEN}\n   token: {TOKEN}\n",
        f'"{TOKEN}"',
    ]
    operator.write("/root/.kube/token", TOKEN, mode=0o600)
    trial.arranged()
    seen: set[str] = set()
    snapshot, check, restore = ("snapshot", "--tag", "1b2c3d4e"), ("check",), ("restore", "--yes")
    try:
        with watched(environment, canaries) as seen:
            for text in (
                stranger,
                key.replace("\n", "\n ")[: len(key) // 2],
                key[:-60] + "AAAA" + key[-56:],
            ):
                fails(trial, canaries, variables | {"BREAKGLASS_SSH_KEY": text}, *snapshot)
            for document in documents:
                operator.write("/root/.kube/config", document, mode=0o600)
                fails(trial, canaries, variables, *restore)
            operator.write("/root/.kube/config", good, mode=0o600)
            for registry in environment.registries:
                registry.refuse(on=True)
            for argv in (check, snapshot):
                fails(trial, canaries, variables, *argv)
            operator.write(AUTHS, f'{{"auths": {{"{PASSWORD}" {PASSWORD}')
            fails(trial, canaries, variables, *check)
            settings = operator.read("/root/breakglass.yaml")
            operator.write("/root/other-ca.pem", pki.text("kubernetes-ca.crt"))
            operator.write(
                "/root/breakglass.yaml", settings.replace("ca: null", "ca: /root/other-ca.pem")
            )
            fails(trial, canaries, variables, *check)
    finally:
        operator.path("/root/.ssh/id_ed25519.away").rename(operator.path("/root/.ssh/id_ed25519"))
        operator.write("/root/.kube/config", good, mode=0o600)
        operator.path("/root/.kube/token").unlink()
    argv_of_the_plugin = {line for line in seen if "argv of /bin/echo" in line}
    assert seen - argv_of_the_plugin == set()
    assert left_over(environment, canaries) == []
    trial.holds()
