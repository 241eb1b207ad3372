"""What a registry wants before it answers: challenges and tokens."""

from __future__ import annotations

import json
import re

from breakglass.remote.distribution.answers import Answer, NotServed, State
from breakglass.remote.limits import TOKEN_BYTES


def challenges_of(headers: list[str]) -> dict[str, dict[str, str]]:
    """Scheme -> parameters. Several challenges may share a header, and a quoted value may hold
    commas (RFC 9110, 11.6.1).
    """
    challenges: dict[str, dict[str, str]] = {}
    for header in headers:
        parameters: dict[str, str] = {}
        for name, quoted, plain in re.findall(
            r"""([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:\s*=\s*("(?:[^"\\]|\\.)*"|([^\s,"]+)))?""", header
        ):
            if quoted:
                parameters.setdefault(name.lower(), plain or re.sub(r"\\(.)", r"\1", quoted[1:-1]))
            else:
                parameters = challenges.setdefault(name.lower(), {})
    return challenges


def scope_of(challenge: dict[str, str], repository: str) -> str:
    """What a token has to allow: a pull, whatever the registry asks for."""
    scope = challenge.get("scope", "")
    return scope if scope.startswith("repository:") else f"repository:{repository}:pull"


def token_in(answer: Answer, service: str) -> str:
    """The token that a service has answered with. Raises NotServed where there is none."""
    try:
        document = json.loads(answer.body) if answer.status == 200 else {}
        token = str(document.get("token") or document.get("access_token") or "")
    except (ValueError, AttributeError, RecursionError):
        token = ""
    if not re.fullmatch("[!-~]+", token) or len(token) > TOKEN_BYTES:
        raise NotServed(State.UNREACHABLE, f"{service}: HTTP {answer.status} without a token")
    return token
