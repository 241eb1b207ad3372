"""Runs on the node without a kubelet: makes its Node object and keeps it Ready, as a kubelet would. Arguments: name, address, API server."""

import json
import ssl
import sys
import time
import urllib.error
import urllib.request
from typing import Any


def main(name: str, address: str, server: str) -> None:
    context = ssl.create_default_context(cafile="/etc/lab/pki/ca.crt")
    context.load_cert_chain("/etc/lab/pki/admin.crt", "/etc/lab/pki/admin.key")

    def call(method: str, path: str, body: dict[str, Any]) -> None:
        kind = "application/strategic-merge-patch+json" if method == "PATCH" else "application/json"
        request = urllib.request.Request(server + path, json.dumps(body).encode(), {"Content-Type": kind}, method=method)
        urllib.request.urlopen(request, context=context, timeout=5).close()

    labels = {"kubernetes.io/hostname": name, "kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux"}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "spec": {}}
    since = stamp()
    while True:
        try:
            call("PATCH", f"/api/v1/nodes/{name}/status", {"status": status(name, address, since)})
        except urllib.error.HTTPError as error:
            if error.code == 404:
                try:
                    call("POST", "/api/v1/nodes", node)
                    continue
                except OSError as again:
                    print(again, flush=True)
        except OSError as error:
            print(error, flush=True)
        time.sleep(5)


def status(name: str, address: str, since: str) -> dict[str, Any]:
    room = {"cpu": "2", "memory": "8Gi", "pods": "50", "ephemeral-storage": "50Gi"}
    healthy = {"MemoryPressure": "KubeletHasSufficientMemory", "DiskPressure": "KubeletHasNoDiskPressure", "PIDPressure": "KubeletHasSufficientPID"}
    conditions = [condition(kind, "False", reason, since) for kind, reason in healthy.items()] + [condition("Ready", "True", "KubeletReady", since)]
    return {
        "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
        "capacity": room,
        "allocatable": room,
        "conditions": conditions,
        "nodeInfo": {
            "architecture": "amd64",
            "operatingSystem": "linux",
            "osImage": "Ubuntu 24.04",
            "kernelVersion": "6.8.0",
            "kubeletVersion": "v1.34.0",
            "kubeProxyVersion": "",
            "containerRuntimeVersion": "containerd://2.1.9",
            "machineID": name,
            "systemUUID": name,
            "bootID": name,
        },
    }


def condition(kind: str, value: str, reason: str, since: str) -> dict[str, str]:
    return {"type": kind, "status": value, "reason": reason, "message": "kept by the lab", "lastHeartbeatTime": stamp(), "lastTransitionTime": since}


def stamp() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


if __name__ == "__main__":
    main(*sys.argv[1:])
