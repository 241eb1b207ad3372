"""Answers for kubectl besides plain objects: the list of resources, and printable tables."""

from collections.abc import Sequence

from breakglass.sandbox.rules import Object

KINDS = {"nodes": "Node", "pods": "Pod", "persistentvolumes": "PersistentVolume"}

DISCOVERY: dict[tuple[str, ...], Object] = {
    ("version",): {
        "major": "1",
        "minor": "34",
        "gitVersion": "v1.34.0+breakglass-sandbox",
        "platform": "linux/amd64",
    },
    ("api",): {"kind": "APIVersions", "versions": ["v1"]},
    ("apis",): {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [
            {
                "name": "authorization.k8s.io",
                "versions": [{"groupVersion": "authorization.k8s.io/v1", "version": "v1"}],
                "preferredVersion": {"groupVersion": "authorization.k8s.io/v1", "version": "v1"},
            }
        ],
    },
    ("api", "v1"): {
        "kind": "APIResourceList",
        "groupVersion": "v1",
        "resources": [
            {
                "name": "nodes",
                "singularName": "node",
                "namespaced": False,
                "kind": "Node",
                "verbs": ["get", "list", "patch"],
                "shortNames": ["no"],
            },
            {
                "name": "pods",
                "singularName": "pod",
                "namespaced": True,
                "kind": "Pod",
                "verbs": ["get", "list"],
                "shortNames": ["po"],
            },
            {
                "name": "persistentvolumes",
                "singularName": "persistentvolume",
                "namespaced": False,
                "kind": "PersistentVolume",
                "verbs": ["get", "list"],
                "shortNames": ["pv"],
            },
        ],
    },
    ("apis", "authorization.k8s.io", "v1"): {
        "kind": "APIResourceList",
        "groupVersion": "authorization.k8s.io/v1",
        "resources": [
            {
                "name": "selfsubjectaccessreviews",
                "singularName": "",
                "namespaced": False,
                "kind": "SelfSubjectAccessReview",
                "verbs": ["create"],
            }
        ],
    },
}

COLUMNS = {
    "nodes": ("Name", "Status", "Internal-IP", "Architecture", "Container-Runtime"),
    "pods": ("Name", "Ready", "Status", "Node", "Image"),
    "persistentvolumes": ("Name", "Status", "Claim"),
}


def wanted(accept: str) -> bool:
    """Whether the client prefers a table: kubectl get without -o."""
    return accept.startswith("application/json;as=Table;v=v1;g=meta.k8s.io")


def table(kind: str, items: Sequence[Object], metadata: Object) -> Object:
    """The items as a Table:
    https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables
    """
    cells = {"nodes": _node_cells, "pods": _pod_cells, "persistentvolumes": _volume_cells}[kind]
    rows = [
        {
            "cells": cells(item),
            "object": {
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": item["metadata"],
            },
        }
        for item in items
    ]
    columns = [
        {
            "name": name,
            "type": "string",
            "format": "name" if name == "Name" else "",
            "description": "",
            "priority": 0,
        }
        for name in COLUMNS[kind]
    ]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": columns,
        "rows": rows,
    }


def _node_cells(node: Object) -> list[str]:
    ready = any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for condition in node["status"]["conditions"]
    )
    status = "Ready" if ready else "NotReady"
    if node["spec"].get("unschedulable"):
        status += ",SchedulingDisabled"
    information = node["status"]["nodeInfo"]
    return [
        node["metadata"]["name"],
        status,
        node["status"]["addresses"][0]["address"],
        information["architecture"],
        information["containerRuntimeVersion"],
    ]


def _volume_cells(volume: Object) -> list[str]:
    claim = volume["spec"]["claimRef"]
    return [
        volume["metadata"]["name"],
        volume["status"]["phase"],
        f"{claim['namespace']}/{claim['name']}",
    ]


def _pod_cells(pod: Object) -> list[str]:
    container = pod["status"]["containerStatuses"][0]
    waiting = container["state"].get("waiting", {}).get("reason")
    return [
        pod["metadata"]["name"],
        "1/1" if container["ready"] else "0/1",
        waiting or pod["status"]["phase"],
        pod["spec"].get("nodeName", "<none>"),
        container["image"],
    ]
