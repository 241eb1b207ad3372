"""The key of image.sign_with: where it may be, and why it cannot be used."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from breakglass.errors import Refused
from breakglass.signatures.allowed_signers import Signer
from breakglass.signatures.judgement import SignatureState, judge
from breakglass.ssh.signing import public_key, sign
from tests.signing import make_key, public_blob, refusing_agent, running_agent

MESSAGE = b"a record\n"


def is_signed(file: Path, environ: Mapping[str, str], key: Path) -> bool:
    signers = [Signer("ci@example", public_blob(key))]
    state = judge(MESSAGE, [sign(file, environ, MESSAGE)], signers, None).state
    return state is SignatureState.SIGNED and public_key(file, environ) == public_blob(key)


def encrypted(key: Path) -> Path:
    """The same key, with a passphrase."""
    loaded = serialization.load_ssh_private_key(key.read_bytes(), None)
    file = key.with_name("encrypted")
    file.write_bytes(
        loaded.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.OpenSSH,
            serialization.BestAvailableEncryption(b"a passphrase"),
        )
    )
    file.chmod(0o600)
    return file


@pytest.mark.parametrize("kind", ["ed25519", "nistp384", "rsa"])
def test_the_key_is_the_file_or_in_the_environment_or_in_the_agent(
    kind: str, tmp_path: Path
) -> None:
    key, other = make_key(tmp_path, "key", kind), make_key(tmp_path, "other")
    public = Path(f"{key}.pub")
    assert is_signed(key, {}, key)
    assert is_signed(public, {"BREAKGLASS_SSH_KEY": key.read_text()}, key)
    with running_agent(tmp_path, other, key) as socket:
        assert is_signed(public, {"SSH_AUTH_SOCK": socket}, key)
        both = {"SSH_AUTH_SOCK": socket, "BREAKGLASS_SSH_KEY": other.read_text()}
        assert is_signed(public, both, key)
        # ssh-add takes the passphrase; here it never is.
        assert is_signed(encrypted(key), {"SSH_AUTH_SOCK": socket}, key)


def refusal(file: Path, **environ: str) -> Refused:
    with pytest.raises(Refused) as raised:
        public_key(file, environ)
    return raised.value


def test_a_key_that_cannot_be_used_is_refused_with_the_reason_and_the_remedy(
    tmp_path: Path,
) -> None:
    key = make_key(tmp_path, "key")
    other, public = make_key(tmp_path, "other"), Path(f"{key}.pub")
    for error, why, remedy in (
        (refusal(public), "neither in $BREAKGLASS_SSH_KEY nor in the agent", f"ssh-add {key}"),
        (refusal(public, BREAKGLASS_SSH_KEY=other.read_text()), "neither in", "ssh-add"),
        (refusal(public, BREAKGLASS_SSH_KEY="nonsense"), "neither in", "ssh-add"),
        (refusal(public, SSH_AUTH_SOCK=str(tmp_path / "absent")), "neither in", "ssh-add"),
        (refusal(encrypted(key)), "it is encrypted, and no agent has it", "ssh-add"),
        (refusal(tmp_path / "absent"), "it cannot be read: No such file", "ls -l"),
        (refusal(tmp_path), "it is no regular file", "ls -ld"),
        (refusal(Path("/dev/zero")), "it is no regular file", "ls -ld"),
    ):
        assert why in error.message
        assert error.message.startswith("nothing can be signed with the key ")
        assert error.next_step.typed_commands[0].startswith(remedy)
    key.chmod(0o640)
    assert "mode 0640" in refusal(key).message
    assert refusal(key).next_step.typed_commands[0] == f"chmod 600 {key}"


@pytest.mark.parametrize("text", ["", "nonsense\n", "ssh-ed25519 nonsense\n", "ssh-dss AAAA\n"])
def test_a_file_that_is_no_key_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(text)
    file.chmod(0o600)
    assert refusal(file).message


def test_an_agent_that_does_not_sign_is_reported(tmp_path: Path) -> None:
    key = make_key(tmp_path, "key")
    with refusing_agent(tmp_path, key) as socket, pytest.raises(Refused) as raised:
        sign(Path(f"{key}.pub"), {"SSH_AUTH_SOCK": socket}, MESSAGE)
    assert "the agent did not sign" in raised.value.message
