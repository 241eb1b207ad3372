"""The questions on the command line."""

from __future__ import annotations

import json
import re
from typing import Any

from breakglass.remote.arguments import PROGRAM
from breakglass.remote.faults import USAGE, Fault
from breakglass.remote.shape import is_strings

SECONDS = 8.0


def parse(argv: list[str]) -> tuple[list[dict[str, Any]], float]:
    if len(argv) not in (1, 2):
        raise wrong("expected is QUESTIONS, as JSON, and perhaps SECONDS")
    if len(argv) == 2 and (
        not re.fullmatch(r"[0-9]{1,2}(\.[0-9]{1,3})?", argv[1]) or not float(argv[1])
    ):
        raise wrong(f"{argv[1]!r} is no number of seconds between 0 and 100")
    try:
        found = json.loads(argv[0])
    except (ValueError, RecursionError):
        raise wrong("the questions are not JSON") from None
    if not isinstance(found, list):
        raise wrong("the questions are not a list")
    return [read_question(value) for value in found], float(argv[1]) if len(argv) == 2 else SECONDS


def read_question(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or set(value) != {
        "registry",
        "endpoints",
        "repository",
        "tags",
        "architecture",
    }:
        raise wrong("a question has exactly registry, endpoints, repository, tags and architecture")
    shapes = {
        "registry": r"[A-Za-z0-9\[][A-Za-z0-9.:\]_-]*",
        "repository": r"[A-Za-z0-9]([A-Za-z0-9/._-]*[A-Za-z0-9])?",
        "architecture": r"[a-z0-9_]+",
    }
    for key, shape in shapes.items():
        if (
            not isinstance(value[key], str)
            or not re.fullmatch(shape, value[key])
            or ".." in value[key]
        ):
            raise wrong(f"{json.dumps(value[key])} is no {key}")
    if not is_strings(value["tags"]) or not all(
        re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", tag) for tag in value["tags"]
    ):
        raise wrong("the tags are not a list of tags")
    if not isinstance(value["endpoints"], list):
        raise wrong("the endpoints are not a list")
    return {**value, "endpoints": [read_endpoint(endpoint) for endpoint in value["endpoints"]]}


def read_endpoint(value: Any) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "override_path": False,
        "ca": [],
        "client": [],
        "skip_verify": False,
    }
    if (
        not isinstance(value, dict)
        or not isinstance(value.get("url"), str)
        or set(value) - set(defaults) - {"url"}
    ):
        raise wrong(f"an endpoint has a url and perhaps {', '.join(defaults)}, and nothing else")
    endpoint = {**defaults, **value}
    if not isinstance(endpoint["override_path"], bool) or not isinstance(
        endpoint["skip_verify"], bool
    ):
        raise wrong("an endpoint's override_path and skip_verify are true or false")
    if not is_strings(endpoint["ca"]):
        raise wrong("an endpoint's ca is a list of paths")
    if not isinstance(endpoint["client"], list) or not all(
        is_strings(pair) and len(pair) in (1, 2) for pair in endpoint["client"]
    ):
        raise wrong("an endpoint's client is a list of pairs of paths")
    return endpoint


def wrong(sentence: str) -> Fault:
    return Fault(USAGE, f"{PROGRAM} registries: {sentence}")
