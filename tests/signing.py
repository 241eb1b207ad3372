"""Keys that sign records, their files, and OpenSSH's own program beside ours."""

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from breakglass.signatures.keys import parse_public_key
from breakglass.signatures.sshsig import NAMESPACE
from breakglass.ssh.signing import sign

KEYGEN = shutil.which("ssh-keygen")
with_keygen = pytest.mark.skipif(KEYGEN is None, reason="ssh-keygen is not installed here")


def make_key(directory: Path, name: str, kind: str = "ed25519", *, bits: int = 0) -> Path:
    """A private key, made without ssh-keygen; the public one is beside it, as FILE.pub."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    if kind == "ed25519":
        key = ed25519.Ed25519PrivateKey.generate()
    elif kind == "rsa":
        key = rsa.generate_private_key(65537, bits or 2048)
    else:
        curves = {
            "nistp256": ec.SECP256R1(),
            "nistp384": ec.SECP384R1(),
            "nistp521": ec.SECP521R1(),
        }
        key = ec.generate_private_key(curves[kind])
    file = directory / name
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.OpenSSH,
            serialization.NoEncryption(),
        )
    )
    file.chmod(0o600)
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    file.with_name(name + ".pub").write_bytes(public + b" somebody@somewhere\n")
    return file


def public_line(key: Path) -> str:
    return key.with_name(key.name + ".pub").read_text().strip()


def public_blob(key: Path) -> bytes:
    return parse_public_key(public_line(key))


@contextmanager
def refusing_agent(directory: Path, key: Path) -> Iterator[str]:
    """The socket of an agent that has this key, and answers FAILURE where it has to sign: its
    owner said no, or the security key was not touched.
    """
    blob, path = public_blob(key), directory / "refusing-agent"
    listed = b"\x0c" + (1).to_bytes(4, "big") + len(blob).to_bytes(4, "big") + blob + bytes(4)
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()

    def answer() -> None:
        connection, _ = server.accept()
        with connection:
            for content in (listed, b"\x05"):
                connection.recv(65536)
                connection.sendall(len(content).to_bytes(4, "big") + content)
            connection.recv(1)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    yield str(path)
    server.close()
    thread.join(10)


def allow(file: Path, *lines: str) -> Path:
    """A file of allowed signers."""
    file.write_text("# who may sign\n\n" + "".join(line + "\n" for line in lines))
    return file


def signed(key: Path, message: bytes) -> bytes:
    return sign(key, {}, message)


def verified_by_keygen(
    message: bytes,
    signature: Path,
    signers: Path,
    principal: str,
    *options: str,
    namespace: str = NAMESPACE,
) -> bool:
    """Whether a person who types it by hand finds the signature good."""
    assert KEYGEN is not None
    line = [KEYGEN, "-Y", "verify", "-f", str(signers), "-I", principal, "-n", namespace]
    line += ["-s", str(signature), *options]
    ended = subprocess.run(line, input=message, capture_output=True, check=False)
    return ended.returncode == 0


def signed_by_keygen(key: Path, message: bytes, *, namespace: str = NAMESPACE) -> str:
    """A signature in its armor, as a person makes it."""
    assert KEYGEN is not None
    line = [KEYGEN, "-Y", "sign", "-q", "-f", str(key), "-n", namespace]
    return subprocess.run(line, input=message, capture_output=True, check=True).stdout.decode()


@contextmanager
def running_agent(directory: Path, *keys: Path) -> Iterator[str]:
    """The socket of an agent that has these keys."""
    agent, add = shutil.which("ssh-agent"), shutil.which("ssh-add")
    if agent is None or add is None:
        pytest.skip("ssh-agent is not installed here")
    socket = str(directory / "agent")
    process = subprocess.Popen([agent, "-D", "-a", socket], stdout=subprocess.DEVNULL)
    try:
        while not Path(socket).exists():
            assert process.poll() is None
        environ = {**os.environ, "SSH_AUTH_SOCK": socket}
        subprocess.run([add, "-q", *keys], env=environ, check=True, capture_output=True)
        yield socket
    finally:
        process.terminate()
        process.wait()
