"""The verdict on a host key is OpenSSH's own: each case is judged by us and, where it is installed,
by the real client.
"""

import base64
import getpass
import hashlib
import hmac
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from breakglass.errors import Unreachable
from breakglass.known_hosts import (
    Status,
    judge,
    look_up_name,
    parse,
    prefer,
)
from breakglass.patterns import match_pattern
from breakglass.signatures.keys import fingerprint
from breakglass.ssh import Connections
from tests.unit.loopback_sshd import Sshd, make_key, running_sshd


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with running_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Keys that are not the server's."""
    directory = tmp_path_factory.mktemp("keys")
    return {
        kind: " ".join(
            make_key(directory / kind, kind).with_name(f"{kind}.pub").read_text().split()[:2]
        )
        for kind in ("ed25519", "rsa", "ecdsa")
    }


def hashed(name: str) -> str:
    salt = b"\x07" * 20
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(hmac.new(salt, name.encode(), hashlib.sha1).digest()).decode()}"  # noqa: E501


@dataclass(frozen=True)
class Case:
    text: str
    """HOST is `[127.0.0.1]:port`; GOOD, ECDSA and RSA the server's keys; BAD, BAD_ECDSA and BAD_RSA
    those of others; HASH the hashed name.
    """
    accepted: bool


CASES = {
    "the right key is accepted": Case("HOST GOOD", True),
    "a wrong key is refused": Case("HOST BAD", False),
    "no entry at all is refused": Case("", False),
    "a revoked key is refused even beside a plain line": Case(
        "@revoked HOST GOOD\nHOST GOOD", False
    ),
    "a revoked key is not asked for where another type is on record": Case(
        "@revoked HOST GOOD\nHOST GOOD\nHOST ECDSA", True
    ),
    "of a revoked and a good key of one type the first one counts": Case(
        "@revoked HOST BAD\nHOST BAD\nHOST GOOD\nHOST BAD_RSA", False
    ),
    "a key revoked everywhere is refused": Case("HOST GOOD\n@revoked * GOOD", False),
    "another key that is revoked does no harm": Case("@revoked * BAD\nHOST GOOD", True),
    "a certificate authority does not match a plain key": Case("@cert-authority * GOOD", False),
    "a certificate authority beside the plain line does no harm": Case(
        "@cert-authority * BAD\nHOST GOOD", True
    ),
    "old and new key of one type are both good during a rotation": Case(
        "HOST BAD\nHOST GOOD", True
    ),
    "a stale RSA key beside a good ECDSA key is accepted": Case("HOST BAD_RSA\nHOST ECDSA", True),
    "a stale Ed25519 key is refused though another type is unlisted": Case("HOST BAD", False),
    "a stale RSA key alone is refused": Case("HOST BAD_RSA", False),
    "the bare host is good for another port": Case("127.0.0.1 GOOD", True),
    "the bare host with another key is refused on another port": Case("127.0.0.1 BAD", False),
    "a wrong key with the port outweighs a right one without": Case(
        "HOST BAD\n127.0.0.1 GOOD", False
    ),
    "a key revoked for the bare host is not accepted by the bare host's line": Case(
        "127.0.0.1 GOOD\n@revoked 127.0.0.1 GOOD", False
    ),
    "a wildcard with the port is accepted": Case("[127.0.0.*]:PORT GOOD", True),
    "a question mark stands for one character": Case("[127.0.0.?]:PORT GOOD", True),
    "a negation outweighs the name itself": Case("!HOST,HOST GOOD", False),
    "a negation of another host does no harm": Case("!other,HOST GOOD", True),
    "a negation alone matches nothing": Case("!other GOOD", False),
    "a garbage line before a good one is passed over": Case(
        "HOST ssh-ed25519 garbage!!\nwhat is this\nHOST GOOD", True
    ),
    "an unknown marker makes the line void": Case("@frobnicate HOST GOOD", False),
    "two markers make the line void": Case("@revoked @revoked HOST GOOD\nHOST GOOD", True),
    "two spaces between fields are as good as one": Case("HOST  GOOD", True),
    "tabs between fields are as good as spaces": Case("\tHOST\tGOOD\tcomment", True),
    "a comment and an empty line are passed over": Case("# HOST BAD\n\n   \nHOST GOOD", True),
    "a hashed entry is accepted": Case("HASH GOOD", True),
    "a hashed entry with another key is refused": Case("HASH BAD", False),
    "a broken hash is passed over": Case("|1|x|y GOOD\nHOST GOOD", True),
    "line ends of Windows are understood": Case("HOST GOOD\r\n", True),
    "a key whose type is not the one it says is passed over": Case("HOST ssh-rsa GOODBLOB", False),
    "a list of names is searched": Case("alpha,HOST,beta GOOD", True),
    "another port is another host": Case("[127.0.0.1]:1 GOOD", False),
}


def fill(text: str, sshd: Sshd, other: dict[str, str]) -> str:
    name = f"[127.0.0.1]:{sshd.port}"
    words = {
        "GOODBLOB": sshd.public_key("ed25519").split()[1],
        "GOOD": sshd.public_key("ed25519"),
        "BAD_RSA": other["rsa"],
        "BAD_ECDSA": other["ecdsa"],
        "BAD": other["ed25519"],
        "ECDSA": sshd.public_key("ecdsa"),
        "RSA": sshd.public_key("rsa"),
        "HOST": name,
        "HASH": hashed(name),
        "PORT": str(sshd.port),
    }
    for word, value in words.items():
        text = text.replace(word, value)
    return text + "\n" if text else ""


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_verdict_on_a_host_key_is_the_one_of_openssh(
    case: Case, sshd: Sshd, other: dict[str, str], tmp_path: Path
) -> None:
    text = fill(case.text, sshd, other)
    settings = sshd.settings(tmp_path, known_hosts=text)
    with Connections(settings, environ={"HOME": str(tmp_path)}) as connections:
        refusal = ""
        try:
            ours = connections.ask(sshd.host(), ("true",)).ok
        except Unreachable as error:
            refusal, ours = error.message, False
    assert ours == case.accepted
    assert ours or "host key" in refusal
    if shutil.which("ssh") is None:
        pytest.skip("no ssh client to compare with")
    command = [
        "ssh",
        "-F",
        str(settings.config),
        "-o",
        f"UserKnownHostsFile={settings.known_hosts}",
        "-o",
        "StrictHostKeyChecking=yes",
        "-o",
        "BatchMode=yes",
        "-o",
        "CheckHostIP=no",
    ]
    theirs = subprocess.run(
        [*command, "-p", str(sshd.port), f"{getpass.getuser()}@127.0.0.1", "true"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=20,
        check=False,
    )
    assert (theirs.returncode == 0) == ours, theirs.stderr.decode()


def test_the_algorithms_with_a_key_on_record_are_asked_for_first(
    sshd: Sshd, other: dict[str, str]
) -> None:
    entries = parse(fill("HOST BAD_RSA\nHOST ECDSA\n@revoked HOST BAD", sshd, other), source="file")
    offered = ["ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512", "rsa-sha2-256"]
    assert prefer(offered, entries, host="127.0.0.1", port=sshd.port) == [
        "ecdsa-sha2-nistp256",
        "rsa-sha2-512",
        "rsa-sha2-256",
        "ssh-ed25519",
    ]


def test_a_host_key_alias_is_looked_for_as_it_is_and_without_a_fallback(
    sshd: Sshd, other: dict[str, str]
) -> None:
    key = base64.b64decode(sshd.public_key("ed25519").split()[1])
    entries = parse(fill("vm GOOD\n127.0.0.1 GOOD", sshd, other), source="file")
    assert (
        judge(entries, host="127.0.0.1", port=2222, key=key, alias="vm").status is Status.ACCEPTED
    )
    assert (
        judge(entries, host="127.0.0.1", port=2222, key=key, alias="nas").status is Status.UNKNOWN
    )


def test_the_port_is_part_of_the_name_unless_it_is_22() -> None:
    assert (
        look_up_name("Host", 22),
        look_up_name("Host", 2222),
        look_up_name("Host", 2222, alias="Alias"),
    ) == ("host", "[host]:2222", "Alias")


def test_a_fingerprint_reads_as_ssh_keygen_prints_it(sshd: Sshd) -> None:
    printed = subprocess.run(
        ["ssh-keygen", "-lf", str(sshd.directory / "host_ed25519.pub")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()[1]
    assert fingerprint(base64.b64decode(sshd.public_key("ed25519").split()[1])) == printed


def test_brackets_in_a_pattern_are_no_character_class() -> None:
    assert match_pattern("[a]:1", "[a]:1")
    assert not match_pattern("a:1", "[a]:1")


def test_an_unknown_host_key_is_refused_before_anything_is_sent_and_the_line_to_add_is_shown(
    sshd: Sshd, tmp_path: Path
) -> None:
    before = len(sshd.log)
    with (
        Connections(
            sshd.settings(tmp_path, known_hosts=""), environ={"HOME": str(tmp_path)}
        ) as connections,
        pytest.raises(Unreachable) as refused,
    ):
        connections.ask(sshd.host(), ("true",))
    line = f"[127.0.0.1]:{sshd.port} {sshd.public_key('ed25519')}"
    assert fingerprint(base64.b64decode(line.split()[2])) in refused.value.message
    assert line in str(refused.value.next_step)
    assert "ssh-keygen -lf" in str(refused.value.next_step)
    assert not [
        entry
        for entry in sshd.log[before:].splitlines()
        if getpass.getuser() in entry or "publickey" in entry
    ]
    (tmp_path / "known_hosts").write_text(line + "\n")
    with Connections(
        sshd.settings(tmp_path, known_hosts=line), environ={"HOME": str(tmp_path)}
    ) as connections:
        assert connections.ask(sshd.host(), ("true",)).ok


def test_a_changed_host_key_is_refused_with_both_fingerprints_and_the_line_that_has_to_go(
    sshd: Sshd, other: dict[str, str], tmp_path: Path
) -> None:
    before = len(sshd.log)
    text = fill("# note\nHOST BAD", sshd, other)
    with (
        Connections(
            sshd.settings(tmp_path, known_hosts=text), environ={"HOME": str(tmp_path)}
        ) as connections,
        pytest.raises(Unreachable) as refused,
    ):
        connections.ask(sshd.host(), ("true",))
    for key in (sshd.public_key("ed25519"), other["ed25519"]):
        assert fingerprint(base64.b64decode(key.split()[1])) in refused.value.message
    assert f"{tmp_path}/known_hosts:2" in refused.value.message
    assert f"ssh-keygen -R '[127.0.0.1]:{sshd.port}' -f {tmp_path}/known_hosts" in str(
        str(refused.value.next_step)
    )
    assert "publickey" not in sshd.log[before:]
    assert (tmp_path / "known_hosts").read_text() == text


def test_known_hosts_lines_from_the_environment_count_beside_the_files(
    sshd: Sshd, tmp_path: Path
) -> None:
    environ = {"HOME": str(tmp_path), "BREAKGLASS_SSH_KNOWN_HOSTS": sshd.known_hosts("ed25519")}
    with Connections(sshd.settings(tmp_path, known_hosts=""), environ=environ) as connections:
        assert connections.ask(sshd.host(), ("true",)).ok
    assert (tmp_path / "known_hosts").read_text() == ""
