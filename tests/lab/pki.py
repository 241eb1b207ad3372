"""Keys and certificates of one environment: its CA, TLS certificates, SSH keys. Made by openssl and
ssh-keygen, kept under STATE/pki.
"""

import subprocess

from .host import STATE

DIRECTORY = STATE / "pki"
EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "30")


def make_authority(name: str = "ca") -> None:
    """A CA of our own; every host of the lab trusts `ca`."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    openssl(
        "req",
        "-x509",
        *EC,
        "-subj",
        f"/CN=breakglass lab {name}",
        "-addext",
        "keyUsage=critical,keyCertSign,cRLSign",
        "-keyout",
        f"{name}.key",
        "-out",
        f"{name}.crt",
    )


def make_certificate(file: str, subject: str, names: str = "", authority: str = "ca") -> None:
    """FILE.crt and FILE.key; names as in subjectAltName ("DNS:x,IP:y"), empty for a client's."""
    extension = ("-addext", f"subjectAltName={names}") if names else ()
    openssl(
        "req",
        "-x509",
        "-CA",
        f"{authority}.crt",
        "-CAkey",
        f"{authority}.key",
        *EC,
        "-subj",
        subject,
        "-addext",
        "basicConstraints=critical,CA:FALSE",
        "-addext",
        "extendedKeyUsage=serverAuth,clientAuth",
        *extension,
        "-keyout",
        f"{file}.key",
        "-out",
        f"{file}.crt",
    )


def make_key(file: str) -> None:
    """A bare signing key, FILE.key and FILE.pub."""
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{file}.key")
    openssl("ec", "-in", f"{file}.key", "-pubout", "-out", f"{file}.pub")


def make_ssh_key(file: str, kind: str = "ed25519", comment: str = "") -> None:
    """FILE and FILE.pub in OpenSSH's format."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", comment, "-f", str(DIRECTORY / file)],
        check=True,
    )


def subject_hash(file: str) -> str:
    """The name under which OpenSSL looks a CA up in /etc/ssl/certs."""
    return openssl("x509", "-in", f"{file}.crt", "-noout", "-subject_hash").strip()


def text(file: str) -> str:
    return (DIRECTORY / file).read_text()


def openssl(*argv: str) -> str:
    done = subprocess.run(["openssl", *argv], cwd=DIRECTORY, text=True, capture_output=True)
    if done.returncode:
        raise RuntimeError(f"openssl {' '.join(argv)}: {done.stderr}")
    return done.stdout
