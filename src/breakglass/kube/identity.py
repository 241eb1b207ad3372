"""Loads the client certificate and key of a kubeconfig into TLS without writing them to a file.

The client library would write them to temporary files, which stay behind if the run is killed.
"""

import base64
import os
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from breakglass.remote.tls import judge_as_go

DATA = ("certificate-authority-data", "client-certificate-data", "client-key-data")


def without_texts(document: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """A resolved kubeconfig without the values in `DATA`, and these values as PEM. Raises
    ValueError if a value is not base64.
    """
    texts: dict[str, str] = {}
    stripped = dict(document)
    for kind in ("cluster", "user"):
        (entry,) = document[f"{kind}s"]
        kept: dict[str, Any] = {}
        for name, value in entry[kind].items():
            if name not in DATA:
                kept[name] = value
            elif value:
                texts[name] = base64.b64decode(value).decode("latin-1")
        stripped[f"{kind}s"] = [{**entry, kind: kept}]
    return stripped, texts


def context(texts: Mapping[str, str], configuration: Any) -> ssl.SSLContext:
    """A TLS context with the client certificate and key of these texts, or of the files that the
    configuration names. Raises ssl.SSLError if they do not belong together or are encrypted.
    """
    from urllib3.util.ssl_ import create_urllib3_context

    pair = texts.get("client-certificate-data"), texts.get("client-key-data")
    cert_reqs = ssl.CERT_REQUIRED if configuration.verify_ssl else ssl.CERT_NONE
    tls = judge_as_go(create_urllib3_context(cert_reqs=cert_reqs))
    if configuration.verify_ssl and not (configuration.ssl_ca_cert or configuration.ca_cert_data):
        tls.load_default_certs()
    if pair == (None, None):
        return tls
    with (
        _file(pair[0], configuration.cert_file) as certificate,
        _file(pair[1], configuration.key_file) as key,
    ):
        tls.load_cert_chain(certificate or key or "", key, password="")
    configuration.cert_file = configuration.key_file = None
    return tls


@contextmanager
def _file(text: str | None, path: str | None) -> Iterator[str | None]:
    """A path from which OpenSSL can read within the context: `path`, or a file with the text. That
    file is in memory, or on a system without such files a temporary file of mode 0600.
    """
    if text is None:
        yield path
        return
    if hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir():
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
