"""The client certificate and key that a kubeconfig holds as text: into TLS without a file of their
own.

The client library writes them to temporary files, which a run that is killed would leave behind.
"""

import base64
import os
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from breakglass.tls import judge_as_go

DATA = ("certificate-authority-data", "client-certificate-data", "client-key-data")


def without_texts(document: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """A resolved kubeconfig without what would become a file, and these texts as PEM. Raises
    ValueError for what is no base64.
    """
    taken: dict[str, str] = {}

    def strip(kind: str, key: str) -> list[dict[str, Any]]:
        (entry,) = document[kind]
        taken.update(
            {
                name: base64.b64decode(entry[key][name]).decode("latin-1")
                for name in DATA
                if entry[key].get(name)
            }
        )
        return [
            {**entry, key: {name: value for name, value in entry[key].items() if name not in DATA}}
        ]

    return {
        **document,
        "clusters": strip("clusters", "cluster"),
        "users": strip("users", "user"),
    }, taken


def context(texts: Mapping[str, str], configuration: Any) -> ssl.SSLContext:
    """TLS with the identity of these texts, where the kubeconfig has any.

    A part of it may be a file already. Raises ssl.SSLError for a pair that does not fit, or is
    encrypted.
    """
    from urllib3.util.ssl_ import create_urllib3_context

    pair = texts.get("client-certificate-data"), texts.get("client-key-data")
    cert_reqs = ssl.CERT_REQUIRED if configuration.verify_ssl else ssl.CERT_NONE
    made = judge_as_go(create_urllib3_context(cert_reqs=cert_reqs))
    if configuration.verify_ssl and not (configuration.ssl_ca_cert or configuration.ca_cert_data):
        made.load_default_certs()
    if pair == (None, None):
        return made
    with (
        _file(pair[0], configuration.cert_file) as certificate,
        _file(pair[1], configuration.key_file) as key,
    ):
        made.load_cert_chain(certificate or key or "", key, password="")
    configuration.cert_file = configuration.key_file = None
    return made


@contextmanager
def _file(text: str | None, path: str | None) -> Iterator[str | None]:
    """A path that OpenSSL can read for a moment. That of a text is in memory, and where a system
    has no such files, a temporary one of mode 0600.
    """
    if text is None:
        yield path
        return
    if hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd"):  # noqa: PTH112 (as the name of a descriptor it is no path to work with)
        descriptor = os.memfd_create("kubeconfig")
        try:
            os.write(descriptor, text.encode("latin-1"))
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
        return
    with tempfile.NamedTemporaryFile("w", encoding="latin-1") as file:
        file.write(text)
        file.flush()
        yield file.name
