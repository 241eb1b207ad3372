"""Verdicts on host keys are OpenSSH's, whatever stands in known_hosts: files of many pieces, judged
by us and by the real client.
"""

import base64
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from breakglass.known_hosts import Status, judge, look_up_name, parse, prefer
from breakglass.ssh.login import HOST_KEYS
from tests.unit.loopback_sshd import KEY_TYPES, Sshd, make_key, running_sshd
from tests.unit.strategies import examples
from tests.unit.test_known_hosts import hashed

# The words stand for what only a running server knows; see `fill`. No tab behind a marker: OpenSSH
# looks for a space first, so that such a line with a space further on is void there; here it
# counts, which is stricter.
MARKERS = some.sampled_from(
    [
        "",
        "",
        "",
        "",
        "",
        "@revoked ",
        "@cert-authority ",
        "@frobnicate ",
        "@revoked @revoked ",
        "@REVOKED ",
        "@",
    ]
)
ONE_HOST = some.sampled_from(
    [
        *(
            "HOST",
            "HOST",
            "HOST",
            "127.0.0.1",
            "127.0.0.1",
            "HASH",
            "BAREHASH",
            "[127.0.0.*]:PORT",
            "[127.0.0.?]:PORT",
            "[127.*]:PORT",
            "127.0.0.*",
            "*",
            "?",
            "127.?.?.1",
        ),
        *(
            "!HOST",
            "!127.0.0.1",
            "!*",
            "![127.0.0.*]:PORT",
            "other",
            "!other",
            "[127.0.0.1]:1",
            "[127.0.0.1]",
            "[127.0.0.1]:22",
            "127.0.0.1:PORT",
            "localhost",
            "127.0.0.[1]",
            "",
            "|1|x|y",
            "|2|HOST",
            "[*]:*",
        ),
        *("**", "*HOST*", "[127.0.0.1]:*", "HOST*", "!", "127.0.0.1/8"),
    ]
)
HOSTS = ONE_HOST | some.lists(ONE_HOST, min_size=2, max_size=3).map(",".join)
KEYS = some.sampled_from(
    [
        *(
            "GOOD_ed25519",
            "GOOD_ed25519",
            "GOOD_ecdsa",
            "GOOD_rsa",
            "BAD_ed25519",
            "BAD_ecdsa",
            "BAD_rsa",
            "GOOD_ed25519 a comment",
            "GOOD_rsa\tcomment",
            "BAD_ed25519 #",
            "ssh-ed25519 garbage!!",
        ),
        *(
            "ssh-ed25519",
            "ssh-rsa BLOB_ed25519",
            "ssh-frob AAAA",
            "BLOB_ed25519",
            "ssh-ed25519 BLOB_ed25519AAAA",
            "ssh-ed25519  BLOB_ed25519",
            "",
            "2048 35 12345",
            "rsa-sha2-512 BLOB_rsa",
            "ssh-ed25519 CUT_ed25519",
        ),
    ]
)
SPACES = some.sampled_from([" ", " ", " ", "  ", "\t", " \t "])
LINES = some.builds(
    "{}{}{}{}{}{}".format,
    some.sampled_from(["", "", "", " ", "\t"]),
    MARKERS,
    HOSTS,
    SPACES,
    KEYS,
    some.sampled_from(["", "", "", " ", "\r"]),
) | some.sampled_from(
    [
        "",
        "# a comment",
        "#HOST GOOD_ed25519",
        "what is this",
        "HOST",
        " # HOST GOOD_ed25519",
        "\x1b[31m",
        "ä",
    ]
)
FILES = some.builds(
    lambda lines, end, last: end.join(lines) + (end if last else ""),
    some.lists(LINES, min_size=1, max_size=5),
    some.sampled_from(["\n", "\n", "\r\n"]),
    some.booleans(),
)


@dataclass(frozen=True)
class Environment:
    sshd: Sshd
    words: dict[str, str]

    def fill(self, text: str) -> str:
        for word, value in self.words.items():
            text = text.replace(word, value)
        return text


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    with running_sshd(tmp_path_factory.mktemp("sshd")) as sshd:
        name, keys = f"[127.0.0.1]:{sshd.port}", tmp_path_factory.mktemp("keys")
        words = {
            "BAREHASH": hashed("127.0.0.1"),
            "HASH": hashed(name),
            "HOST": name,
            "PORT": str(sshd.port),
        }
        for kind in KEY_TYPES:
            good, bad = (
                sshd.public_key(kind),
                " ".join(
                    make_key(keys / kind, kind).with_name(f"{kind}.pub").read_text().split()[:2]
                ),
            )
            words |= {
                f"GOOD_{kind}": good,
                f"BAD_{kind}": bad,
                f"BLOB_{kind}": good.split()[1],
                f"CUT_{kind}": good.split()[1][:40],
            }
        yield Environment(sshd, words)


def is_accepted_by_us(text: str, sshd: Sshd) -> bool:
    """What login.py does: ask for the algorithms in the order of preference, judge the key that the
    server offers then.
    """
    entries = parse(text, source="known_hosts")
    offered = {
        (
            "rsa"
            if "rsa" in algorithm
            else "ecdsa"
            if algorithm == "ecdsa-sha2-nistp256"
            else "ed25519"
            if algorithm == "ssh-ed25519"
            else ""
        ): algorithm
        for algorithm in reversed(HOST_KEYS)
    }
    kinds = {algorithm: kind for kind, algorithm in offered.items() if kind}
    first = next(
        algorithm
        for algorithm in prefer(HOST_KEYS, entries, host="127.0.0.1", port=sshd.port)
        if algorithm in kinds
    )
    key = base64.b64decode(sshd.public_key(kinds[first]).split()[1])
    return judge(entries, host="127.0.0.1", port=sshd.port, key=key).status is Status.ACCEPTED


def is_accepted_by_openssh(path: Path, sshd: Sshd) -> bool:
    options = (
        "StrictHostKeyChecking=yes",
        "BatchMode=yes",
        "CheckHostIP=no",
        "GlobalKnownHostsFile=none",
        "PreferredAuthentications=none",
        f"UserKnownHostsFile={path}",
        "UpdateHostKeys=no",
    )
    command = [
        "ssh",
        "-F",
        "none",
        *(word for option in options for word in ("-o", option)),
        "-p",
        str(sshd.port),
        "127.0.0.1",
        "true",
    ]
    said = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False
    ).stderr.decode(errors="replace")
    assert ("Permission denied" in said) != ("Host key verification failed" in said), said
    return "Permission denied" in said


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("ssh") is None, reason="no ssh client to compare with")
@examples(25)
@given(template=FILES)
def test_a_host_key_is_accepted_exactly_where_openssh_accepts_it(
    environment: Environment, template: str
) -> None:
    text = environment.fill(template)
    path = environment.sshd.directory / "generated_known_hosts"
    path.write_bytes(text.encode())
    # Read as connections.py reads it.
    ours = is_accepted_by_us(path.read_text(encoding="utf-8", errors="replace"), environment.sshd)
    assert ours == is_accepted_by_openssh(path, environment.sshd)


NAMES = some.sampled_from(
    [
        ("127.0.0.1", 22),
        ("127.0.0.1", 2222),
        ("vm", 22),
        ("VM.Example", 22),
        ("vm.example", 2222),
        ("10.0.20.10", 22),
    ]
)
PATTERNS = some.text(
    alphabet="vm.exampl*?![]:2,10|VM ", min_size=1, max_size=12
) | some.sampled_from(
    [
        "vm",
        "VM.*",
        "[vm.example]:2222",
        "10.0.20.*",
        "127.0.0.1",
        "*.example,!vm.example",
        "!vm,vm",
        "*",
    ]
)


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen to compare with")
@examples(60)
@given(patterns=some.lists(PATTERNS, min_size=1, max_size=30), name=NAMES)
def test_lines_speak_of_the_names_that_ssh_keygen_finds_in_them(
    environment: Environment, patterns: list[str], name: tuple[str, int]
) -> None:
    text = "".join(f"{hosts} {environment.words['GOOD_ed25519']}\n" for hosts in patterns)
    path = environment.sshd.directory / "patterns"
    path.write_text(text)
    looked_for = look_up_name(*name)
    found = subprocess.run(
        ["ssh-keygen", "-l", "-F", looked_for, "-f", str(path)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    theirs = {
        int(line.split("line ")[1].split()[0])
        for line in found.splitlines()
        if line.startswith("# Host ")
    }
    assert {
        entry.line for entry in parse(text, source="known_hosts") if entry.matches(looked_for)
    } == theirs
