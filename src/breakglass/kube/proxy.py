"""Which proxy leads to the API server, by kubectl's rules, where the client has others."""

import re
import sys
import warnings
from typing import Any

from breakglass.errors import AGAIN, Unreachable, then

LOOPBACK = "localhost,127.0.0.0/8,::1"


def set_proxy(configuration: Any, *, from_kubeconfig: bool) -> None:
    """Change the client's configuration to what kubectl would do."""
    if from_kubeconfig:
        # NO_PROXY is for the proxies of the environment.
        configuration.no_proxy = None
    else:
        # A server on this machine, such as a tunnel to the cluster, is never behind a proxy.
        configuration.no_proxy = ",".join(filter(None, (configuration.no_proxy, LOOPBACK)))
    if configuration.proxy:
        # With `socks5`, urllib3 would resolve the server's name here, and not behind the proxy.
        configuration.proxy = re.sub("^socks5://", "socks5h://", configuration.proxy)


def client_for(configuration: Any) -> Any:
    """The client. Raises Unreachable where its proxy needs a package that is not there."""
    from kubernetes import client

    try:
        with warnings.catch_warnings():
            # The sentence below says the same.
            warnings.simplefilter("ignore")
            return client.ApiClient(configuration)
    except ImportError:
        # Not chained: the address of a proxy may hold a password.
        raise Unreachable(
            "the API server is behind a SOCKS proxy (proxy-url in the kubeconfig, or HTTPS_PROXY), "
            "and the Python package PySocks, which that needs, is not installed",
            next_step=then(f"{sys.executable} -m pip install PySocks", AGAIN),
        ) from None
