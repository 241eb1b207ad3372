"""`sandbox set`: what a node reports about itself, and how a host lets clients in.

These are the cases of real clusters that a healthy sandbox does not have.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from breakglass.sandbox.hosts import Host
from breakglass.sandbox.objects import Objects
from breakglass.sandbox.rules import Declined, Object

MAX_LOGIN_SECONDS = 120
KEY = r"[A-Za-z0-9](?:[\w./-]*[A-Za-z0-9])?"
"""Of a label or a taint."""
TAINT = re.compile(rf"({KEY})(?:=([\w.-]*))?:(NoSchedule|PreferNoSchedule|NoExecute)")
LABEL = re.compile(rf"({KEY})=([\w.-]*)")
CONDITION = re.compile(r"([A-Z]\w*)=(True|False|Unknown)")
RUNTIME = re.compile(r"[a-z-]+://[\w.+~-]+")
WITHOUT = re.compile(rf"({KEY})-")

Change = Callable[[Object, str], Mapping[str, Any]]
"""The node as it is and the value that was typed; the patch. Raises ValueError."""


def set_on_node(objects: Objects, node: str, setting: str, value: str) -> None:
    """Let a Node object report something else. Raises LookupError."""
    try:
        before = objects.node(node)
        objects.patch_node(node, NODE_SETTINGS[setting](before, value))
    except Declined as error:
        raise LookupError(str(error)) from error
    except ValueError:
        raise LookupError(f"{value!r} is no {setting}; type `sandbox` for the forms") from None


def set_on_host(host: Host, setting: str, value: str) -> None:
    """Let a host answer logins in another way. Raises LookupError."""
    if setting == "banner":
        host.banner = value
        return
    if not value.isdecimal() or int(value) > MAX_LOGIN_SECONDS:
        raise LookupError(f"{value!r} is not a number of seconds up to {MAX_LOGIN_SECONDS}")
    host.login_seconds = int(value)


def _taint(node: Object, value: str) -> Mapping[str, Any]:
    """`KEY=VALUE:EFFECT`, `KEY:EFFECT`, or `KEY-`, as kubectl taint has it."""
    key, text, effect = _parts(TAINT, value) if value[-1:] != "-" else (_removed(value), "", "")
    kept = [taint for taint in node["spec"].get("taints", []) if taint["key"] != key]
    added = {"key": key, "effect": effect} | ({"value": text} if text else {})
    return {"spec": {"taints": [*kept, *([added] if effect else [])] or None}}


def _label(node: Object, value: str) -> Mapping[str, Any]:  # noqa: ARG001
    """`KEY=VALUE` or `KEY-`, as kubectl label has it."""
    if value[-1:] == "-":
        return {"metadata": {"labels": {_removed(value): None}}}
    key, text = _parts(LABEL, value)
    return {"metadata": {"labels": {key: text}}}


def _condition(node: Object, value: str) -> Mapping[str, Any]:
    kind, status = _parts(CONDITION, value)
    conditions = node["status"]["conditions"]
    others = [condition for condition in conditions if condition["type"] != kind]
    return {"status": {"conditions": [*others, {"type": kind, "status": status}]}}


def _runtime(node: Object, value: str) -> Mapping[str, Any]:  # noqa: ARG001
    _parts(RUNTIME, value)
    return {"status": {"nodeInfo": {"containerRuntimeVersion": value}}}


def _pods(node: Object, value: str) -> Mapping[str, Any]:  # noqa: ARG001
    return {"status": {"allocatable": {"pods": str(int(value))}}}


def _parts(form: re.Pattern[str], value: str) -> tuple[str, ...]:
    match = form.fullmatch(value)
    if match is None:
        raise ValueError(value)
    return tuple(part or "" for part in match.groups())


def _removed(value: str) -> str:
    (key,) = _parts(WITHOUT, value)
    return key


NODE_SETTINGS: Mapping[str, Change] = {
    "taint": _taint,
    "label": _label,
    "condition": _condition,
    "runtime": _runtime,
    "pods": _pods,
}
HOST_SETTINGS = ("login", "banner")
