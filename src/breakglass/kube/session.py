"""Loads the kubernetes client for the cluster in force, with its address and credentials."""

import os
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from breakglass.config import Kubernetes
from breakglass.errors import AGAIN, Unreachable, then
from breakglass.kube import identity, kubeconfig, patching
from breakglass.kube.merge import SEE_THE_KUBECONFIG, Entry
from breakglass.kube.proxy import client_for, set_proxy


@dataclass(frozen=True)
class Session:
    """A client with credentials, which may expire."""

    api: Any
    """The client's layer below its models: those take a second to load, and we read plain JSON."""
    server: str
    since: float
    """When it was made, on the monotonic clock."""


def connect(settings: Kubernetes, plugin_seconds: float | None) -> Session:
    """A client for the kubeconfig in force. In a pod without a kubeconfig, for the pod's service
    account. Sends nothing yet. Raises Unreachable.
    """
    document = kubeconfig.resolve(settings, plugin_timeout_seconds=plugin_seconds)
    in_pod = settings.kubeconfig is None and bool(os.environ.get("KUBERNETES_SERVICE_HOST"))
    places = [str(path) for path in kubeconfig.places(settings)]
    if document is None and not in_pod:
        raise Unreachable(
            f"no kubeconfig was found, looked for {' and '.join(places)}",
            next_step=then(
                AGAIN, advice="set kubernetes.kubeconfig in the configuration, or KUBECONFIG"
            ),
        )
    import urllib3

    try:
        api, configuration = _client(document)
    except Unreachable:
        raise
    except Exception:
        # Not chained: the client quotes whole entries of the kubeconfig, tokens included.
        where = f"the kubeconfig {', '.join(places)}"
        if document is None:
            where = "the pod's service account"
        raise Unreachable(
            f"the client cannot use {where}: a certificate, key or address in it is malformed",
            next_step=SEE_THE_KUBECONFIG,
        ) from None
    if not configuration.verify_ssl:
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    return Session(api, shown_server(configuration.host), time.monotonic())


def shown_server(url: str) -> str:
    """The address of an API server, without the login that may stand before the host."""
    try:
        address = urlsplit(url)
    except ValueError:
        return "an address that is no URL"
    if not address.netloc:
        return "an address that is no URL"
    # The path tells the clusters behind one proxy apart.
    return f"{address.scheme}://{address.netloc.rpartition('@')[2]}{address.path.rstrip('/')}"


def _client(document: Entry | None) -> tuple[Any, Any]:
    """The client and its configuration: for a kubeconfig, or for the pod's service account."""
    from kubernetes import client, config

    configuration = client.Configuration()
    loader: Any = config
    texts: dict[str, str] = {}
    if document is None:
        loader.load_incluster_config(client_configuration=configuration, try_refresh_token=False)
    else:
        document, texts = identity.without_texts(document)
        loader.load_kube_config_from_dict(
            document, client_configuration=configuration, persist_config=False
        )
        if authority := texts.get("certificate-authority-data"):
            configuration.ca_cert_data = authority
        # The client would load everything again on every request.
        configuration.refresh_api_key_hook = None
    configuration.retries = False
    configuration.connection_pool_maxsize = patching.THREADS
    context = identity.context(texts, configuration)
    from_kubeconfig = document is not None and "proxy-url" in document["clusters"][0]["cluster"]
    set_proxy(configuration, from_kubeconfig=from_kubeconfig)
    api = client_for(configuration)
    api.rest_client.pool_manager.connection_pool_kw["ssl_context"] = context
    return api, configuration
