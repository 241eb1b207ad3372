"""Certificates of users: offered as OpenSSH offers them, by key files and by the agent."""

import getpass
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from breakglass.errors import Unreachable
from breakglass.ssh import Connections
from breakglass.ssh.public_keys import read_certificate
from tests.unit.loopback_sshd import Sshd, make_key, running_sshd

COMMON = "GlobalKnownHostsFile none\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("authority") / "ca")


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory, authority: Path) -> Iterator[Sshd]:
    line = f"TrustedUserCAKeys {authority}.pub"
    with running_sshd(tmp_path_factory.mktemp("sshd"), line, "MaxAuthTries 20") as server:
        (server.directory / "authorized_keys").write_text("")
        yield server


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[str]:
    if shutil.which("ssh-agent") is None:
        pytest.skip("no ssh-agent on this machine")
    path = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL)
    while not path.exists():
        time.sleep(0.02)
    yield str(path)
    process.terminate()
    process.wait()


def certify(authority: Path, key: Path, *options: str, user: str | None = None) -> Path:
    """The certificate, in the file beside the key."""
    subprocess.run(
        [
            *("ssh-keygen", "-q", "-s", str(authority), "-I", "test"),
            *("-n", user or getpass.getuser(), *options, f"{key}.pub"),
        ],
        check=True,
    )
    return key.with_name(f"{key.name}-cert.pub")


def add(agent: str, key: Path) -> None:
    environ = os.environ | {"SSH_AUTH_SOCK": agent}
    subprocess.run(["ssh-add", "-q", str(key)], env=environ, check=True, capture_output=True)


def reach(sshd: Sshd, tmp_path: Path, lines: str, agent: str = "none") -> bool:
    settings = sshd.settings(tmp_path, ssh_config=f"{COMMON}IdentityAgent {agent}\n{lines}")
    with Connections(settings, environ={"HOME": str(tmp_path)}) as connections:
        return connections.ask(sshd.host(), ("true",)).ok


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_the_certificate_beside_a_key_file_is_used(
    sshd: Sshd, tmp_path: Path, authority: Path, kind: str
) -> None:
    key = make_key(tmp_path / "key", kind)
    certify(authority, key)
    assert reach(sshd, tmp_path, f"IdentityFile {key}\nIdentitiesOnly yes\n")


def test_a_certificate_file_that_is_named_is_used_with_the_key_that_fits(
    sshd: Sshd, tmp_path: Path, authority: Path
) -> None:
    other, key = make_key(tmp_path / "other"), make_key(tmp_path / "key")
    certify(authority, key).rename(tmp_path / "elsewhere.pub")
    files = f"IdentityFile {other}\nIdentityFile {key}\n"
    assert reach(sshd, tmp_path, f"{files}CertificateFile {tmp_path}/elsewhere.pub\n")


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_certificate_of_the_agent_is_used(
    sshd: Sshd, tmp_path: Path, authority: Path, agent: str, kind: str
) -> None:
    key = make_key(tmp_path / "key", kind)
    certificate = certify(authority, key)
    add(agent, key)
    for file in (key, certificate, tmp_path / "key.pub"):
        file.unlink()
    assert reach(sshd, tmp_path, "", agent)


def test_a_certificate_file_is_used_with_a_key_that_only_the_agent_has(
    sshd: Sshd, tmp_path: Path, authority: Path, agent: str
) -> None:
    key = make_key(tmp_path / "key")
    add(agent, key)
    certify(authority, key).rename(tmp_path / "elsewhere.pub")
    key.unlink()
    assert reach(sshd, tmp_path, f"CertificateFile {tmp_path}/elsewhere.pub\n", agent)


def test_an_encrypted_key_of_the_agent_is_offered_with_the_certificate_beside_it(
    sshd: Sshd, tmp_path: Path, authority: Path, agent: str
) -> None:
    key = make_key(tmp_path / "key")
    add(agent, key)
    change = ["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret words", "-f", str(key)]
    subprocess.run(change, check=True, stdout=subprocess.DEVNULL)
    certify(authority, key)
    assert reach(sshd, tmp_path, f"IdentityFile {key}\nIdentitiesOnly yes\n", agent)


@pytest.mark.parametrize(
    ("options", "user", "words"),
    [
        (("-V", "20200101:20200102"), None, "which is over"),
        ((), "somebody", "certificate for somebody"),
    ],
)
def test_a_certificate_that_is_refused_is_named_with_its_users_and_its_end(
    sshd: Sshd,
    tmp_path: Path,
    authority: Path,
    options: tuple[str, ...],
    user: str | None,
    words: str,
) -> None:
    key = make_key(tmp_path / "key")
    certify(authority, key, *options, user=user)
    with pytest.raises(Unreachable, match=r"key-cert\.pub") as refused:
        reach(sshd, tmp_path, f"IdentityFile {key}\nIdentitiesOnly yes\n")
    assert words in refused.value.message


@pytest.mark.parametrize(
    "content",
    ["nonsense", "", None],
)
def test_a_certificate_file_that_is_none_is_named(
    sshd: Sshd, tmp_path: Path, content: str | None
) -> None:
    key = make_key(tmp_path / "key")
    if content is not None:
        (tmp_path / "cert.pub").write_text(content)
    with pytest.raises(Unreachable, match="was refused") as refused:
        reach(sshd, tmp_path, f"IdentityFile {key}\nCertificateFile {tmp_path}/cert.pub\n")
    words = "does not exist, or is no user certificate"
    assert f"{tmp_path}/cert.pub {words}" in refused.value.message


def test_a_certificate_of_a_host_is_none_of_a_user(tmp_path: Path, authority: Path) -> None:
    key = make_key(tmp_path / "key")
    assert read_certificate(certify(authority, key, "-h")) is None
    assert read_certificate(key.with_name("key.pub")) is None
    assert read_certificate(tmp_path / "none") is None


LAYOUTS = {
    "a file with its certificate": "IdentityFile DIR/one\n",
    "two files": "IdentityFile DIR/one\nIdentityFile DIR/two\n",
    "a certificate that is named": (
        "IdentityFile DIR/one\nIdentityFile DIR/two\nCertificateFile DIR/two-cert.pub\n"
    ),
    "identities only": "IdentityFile DIR/one\nIdentitiesOnly yes\n",
    "a key of the agent is named": "IdentityFile DIR/agent-two\n",
    "a key of the agent only": "IdentityFile DIR/agent-two\nIdentitiesOnly yes\n",
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_keys_and_certificates_are_offered_in_the_order_of_openssh(
    sshd: Sshd, tmp_path: Path, agent: str, layout: str
) -> None:
    """To a server that knows none of them: its log has what was offered."""
    if shutil.which("ssh") is None:
        pytest.skip("no ssh client to compare with")
    stranger = make_key(tmp_path / "stranger")
    for name in ("one", "two", "agent-one", "agent-two"):
        key = make_key(tmp_path / name)
        certify(stranger, key)
        if name.startswith("agent"):
            add(agent, key)
    lines = f"{COMMON}IdentityAgent {agent}\n{layout.replace('DIR', str(tmp_path))}"
    settings = sshd.settings(tmp_path, ssh_config=lines)
    before = len(sshd.log)
    theirs = subprocess.run(
        [
            *(
                "ssh",
                "-F",
                str(settings.config),
                "-o",
                f"UserKnownHostsFile={settings.known_hosts}",
            ),
            *("-o", "BatchMode=yes", "-p", str(sshd.port), "127.0.0.1", "true"),
        ],
        check=False,
        capture_output=True,
    )
    assert theirs.returncode == 255, theirs
    expected, before = offered(sshd, before), len(sshd.log)
    with (
        Connections(settings, environ={"HOME": str(tmp_path)}) as connections,
        pytest.raises(Unreachable, match="was refused"),
    ):
        connections.ask(sshd.host(), ("true",))
    assert expected
    assert offered(sshd, before) == expected


def offered(sshd: Sshd, position: int) -> list[tuple[str, str]]:
    """Kind and fingerprint of each key that a login failed with, since this position of the log."""
    return re.findall(r"Failed publickey for .* ssh2: (\S+) (SHA256:\S+)", sshd.log[position:])
