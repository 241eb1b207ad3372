"""The start of the script `registries`: all endpoints and tags at the same time."""

from __future__ import annotations

import json
import os
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any, NoReturn

from breakglass.remote.distribution.answers import State
from breakglass.remote.faults import FAILED, Fault, fail
from breakglass.remote.registries.containerd import proxies_of_containerd
from breakglass.remote.registries.look import look
from breakglass.remote.registries.questions import parse
from breakglass.remote.registries.session import AnonymousSession

GRACE_SECONDS = 0.4


def main(argv: list[str], _lifeline: int | None) -> NoReturn:
    """Print the answers, and end the process."""
    try:
        status = answer(argv)
    except BaseException:
        traceback.print_exc()
        status = 1
    # Threads that still wait for a registry or a resolver are not waited for.
    os._exit(status)


def answer(argv: list[str]) -> int:
    """Ask and print; returns the exit code."""
    began = time.monotonic()
    try:
        questions, seconds = parse(argv)
    except Fault as fault:
        return fail(fault.status, fault.sentence)
    answers: list[dict[str, Any]] = []
    threads = [
        _prepared(session, tag, question, answers)
        for question, session in _sessions(questions, began, seconds)
        for tag in question["tags"]
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        # What is still on its way a moment after the deadline has no answer: its entry says so from
        # the start.
        thread.join(max(0.0, began + seconds + GRACE_SECONDS - time.monotonic()))
    try:
        print(json.dumps(list(answers), separators=(",", ":")), flush=True)
    except OSError:
        return FAILED  # nobody reads it any more
    return 0


def _sessions(
    questions: list[dict[str, Any]], began: float, seconds: float
) -> Iterator[tuple[dict[str, Any], AnonymousSession]]:
    environ = proxies_of_containerd()
    for question in questions:
        for endpoint in question["endpoints"]:
            yield question, AnonymousSession(question, endpoint, began, seconds, environ=environ)


def _prepared(
    session: AnonymousSession, tag: str, question: dict[str, Any], answers: list[dict[str, Any]]
) -> threading.Thread:
    """A thread that will put its verdict into a new entry of the answers."""
    answers.append(
        {
            "registry": question["registry"],
            "url": session.url,
            "repository": question["repository"],
            "tag": tag,
            "state": State.UNREACHABLE,
            "detail": session.no_answer,
            "missing": [],
        }
    )
    arguments = (session, tag, question["architecture"], answers, len(answers) - 1)
    # Daemons: a resolver without servers cannot be interrupted, and is left behind.
    return threading.Thread(target=look, args=arguments, daemon=True)
