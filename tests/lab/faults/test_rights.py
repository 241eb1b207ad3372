"""With the least rights: the ClusterRole of docs/security.md, and a key that may only read on the
NAS.
"""

import contextlib
import re
from collections.abc import Iterator

import pytest
import yaml

from .. import listing
from ..cluster import RIGHTS
from ..environment import Environment
from ..operator_host import REPOSITORY_ROOT
from ..roles import ADDRESSES, NAS_DIRECTORY
from .arrangements import TAG, fetched, published
from .injections import unplugged
from .invariants import NODE_DIRECTORY
from .rows import row
from .test_pin import PIN, RESTORE, is_pinned, is_unchanged
from .trial import Trial

SCRIPT = REPOSITORY_ROOT / "examples/nas-read-only.sh"
INSTALLED = "/etc/breakglass-read-only.sh"
TARBALL = f"{NAS_DIRECTORY}/infra-ci-{TAG}.tar.gz"


def printed_role() -> str:
    found = re.search(
        r"<!-- clusterrole -->\n```yaml\n(.*?)```",
        (REPOSITORY_ROOT / "docs/security.md").read_text(),
        re.DOTALL,
    )
    assert found, "docs/security.md prints no ClusterRole"
    return found[1]


def test_the_lab_grants_exactly_the_rights_that_the_documents_print() -> None:
    rules = yaml.safe_load(printed_role())["rules"]
    printed = {
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert printed == {("", resource, verb) for resource, verbs in RIGHTS.items() for verb in verbs}


@row(
    "any",
    "the API grants what docs/security.md prints and no more",
    "import, pin and restore do all they do, warnings about pods included",
    exit_code=0,
)
def test_with_the_printed_role_as_it_stands_every_command_works(trial: Trial) -> None:
    environment = trial.environment
    fetched(environment, "k8s-node1")
    trial.arranged()
    environment.cluster.grant({})
    environment.cluster.kubectl("apply", "-f", "-", input=printed_role())
    reported = [trial.run(*argv) for argv in (("import", "k8s-node1"), PIN, RESTORE)]
    assert [
        ran.stderr
        for ran in reported
        if "403" in ran.stderr or "could not be listed" in ran.stderr or "cannot" in ran.stderr
    ] == []
    is_unchanged(trial)
    trial.recovers("k8s-node1", argv=PIN, goal=lambda: is_pinned(environment))


@contextlib.contextmanager
def read_only(environment: Environment) -> Iterator[None]:
    """Every key that opens the NAS may only read there, as the script's first lines say."""
    nas = environment.nas
    keys = nas.read("/root/.ssh/authorized_keys")
    forced = f'command="/bin/sh {INSTALLED} {NAS_DIRECTORY} infra-ci",restrict '
    nas.write(INSTALLED, SCRIPT.read_bytes())
    nas.write(
        "/root/.ssh/authorized_keys",
        "".join(f"{forced}{line}\n" for line in keys.splitlines()),
        mode=0o600,
    )
    try:
        yield
    finally:
        nas.write("/root/.ssh/authorized_keys", keys, mode=0o600)


@pytest.mark.parametrize("via", ["node", pytest.param("operator", marks=pytest.mark.thorough)])
@row(
    "fetch",
    "the NAS key may only read (forced command), the VM is down",
    "works by both ways, from the start and resumed",
    exit_code=0,
)
def test_fetch_works_with_a_nas_key_that_may_only_read(trial: Trial, via: str) -> None:
    environment = trial.environment
    published(environment)
    environment.mirror()
    trial.down = ("registry-vm",)
    trial.arranged()
    before = listing.files(environment.nas, NAS_DIRECTORY)
    with unplugged(environment.vm), read_only(environment):
        ran = trial.run("fetch", "k8s-node1", "--via", via)
        assert (ran.result["source"], ran.result["via"]) == ("synology", via)
        node = environment.nodes["k8s-node1"]
        whole = node.path(f"{NODE_DIRECTORY}/infra-ci-{TAG}.tar.gz").read_bytes()
        for path in node.path(NODE_DIRECTORY).iterdir():
            path.unlink()
        node.write(f"{NODE_DIRECTORY}/.infra-ci-{TAG}.tar.gz.partial", whole[: len(whole) // 3])
        node.write(
            f"{NODE_DIRECTORY}/.infra-ci-{TAG}.tar.gz.partial.sha256", f"{ran.result['sha256']}\n"
        )
        resumed = trial.run("fetch", "k8s-node1", "--via", via)
        assert any(f"tail -c +{len(whole) // 3 + 1} " in line for line in resumed.lines), (
            resumed.lines
        )
        trial.recovers("k8s-node1")
    assert listing.files(environment.nas, NAS_DIRECTORY) == before


FORBIDDEN = (
    "",
    "id",
    f"rm {TARBALL}",
    f"rm -rf {NAS_DIRECTORY}",
    "sh -c id",
    "sh -c 'id'",
    f"sh -c 'id' shelf {NAS_DIRECTORY} infra-ci; id",
    f"sh -c 'id' shelf /etc infra-ci; : ' shelf {NAS_DIRECTORY} infra-c",
    "cat /etc/shadow",
    "cat",
    "cat -",
    f"cat {NAS_DIRECTORY}/../../../../etc/shadow",
    f"cat {NAS_DIRECTORY}/infra-ci-../../../../../etc/shadow.tar.gz",
    f"cat {NAS_DIRECTORY}/infra-ci-link.tar.gz",
    f"cat {NAS_DIRECTORY}/other.txt",
    f"cat {NAS_DIRECTORY}/.infra-ci-x.tar.gz",
    f"cat {TARBALL} /etc/shadow",
    f"cat {TARBALL};id",
    f"cat {TARBALL}\nid",
    f"id\ncat {TARBALL}",
    f"cat /dev/null\ncat {TARBALL}",
    f"cat {TARBALL} >{NAS_DIRECTORY}/infra-ci-new.tar.gz",
    f"cat {TARBALL}>{TARBALL}",
    f"cat $(id){TARBALL}",
    f"cat `id`{TARBALL}",
    f"cat {NAS_DIRECTORY}/infra-ci-$(id).tar.gz",
    f"cat {NAS_DIRECTORY}/infra-ci-*.tar.gz",
    f"cat '{TARBALL}' '/etc/shadow'",
    f"cat '{NAS_DIRECTORY}/infra-ci-x'/../../../../etc/shadow'.tar.gz'",
    f"sudo -n cat {TARBALL}",
    f"tail -c +1 {NAS_DIRECTORY}/../_forgejo-breakglass/infra-ci-{TAG}.tar.gz",
    "tail -c +1 /etc/shadow",
    f"tail -c +1x {TARBALL}",
    f"tail -c + {TARBALL}",
    f"tail -c +1 -f {TARBALL}",
    f"tail -f {TARBALL}",
    f"tail -c +99999999999999999999 {TARBALL}",
    "scp -t /tmp",
    "internal-sftp",
)


@row(
    "any",
    "the NAS key may only read, and somebody else has it",
    "only tarballs of that directory are read: no other file, no write, no shell, no forwarding",
    exit_code=0,
)
def test_a_nas_key_that_may_only_read_does_nothing_else(trial: Trial) -> None:
    environment = trial.environment
    published(environment)
    environment.mirror()
    nas = environment.nas
    nas.write(f"{NAS_DIRECTORY}/other.txt", "not a tarball")
    nas.path(f"{NAS_DIRECTORY}/infra-ci-link.tar.gz").symlink_to("/etc/shadow")
    shadow = nas.read("/etc/shadow").splitlines()[0]
    ssh = ("ssh", "-o", "BatchMode=yes", ADDRESSES["synology"])
    with read_only(environment):
        before = listing.files(nas, NAS_DIRECTORY) | listing.files(nas, "/etc")
        running = {
            command: environment.operator.popen(*ssh, *((command,) if command else ("-T",)))
            for command in FORBIDDEN
        }
        for command, child in running.items():
            stdout, stderr = child.communicate(timeout=60)
            assert child.returncode == 126, (
                f"{command!r}: exit {child.returncode}\n{stdout[:200]}{stderr}"
            )
            assert "may only read the tarballs" in stderr, f"{command!r}: {stderr}"
            assert stdout == "", f"{command!r}: {stdout[:200]}"
        listed = environment.operator.run(
            *ssh, f"sh -c 'id; cat /etc/shadow' shelf {NAS_DIRECTORY} infra-ci"
        ).stdout
        assert listed.startswith("present\n")
        assert listed.endswith("end\n")
        assert "uid=" not in listed
        assert shadow not in listed
        assert environment.operator.run(*ssh, f"cat {TARBALL} ", check=False).returncode == 126
        assert (
            environment.operator.run(
                *ssh[:1], "-W", "127.0.0.1:22", *ssh[1:], check=False, timeout=30
            ).returncode
            != 0
        )
        assert environment.operator.run(*ssh, "-s", "sftp", check=False, timeout=30).returncode != 0
        assert listing.files(nas, NAS_DIRECTORY) | listing.files(nas, "/etc") == before
