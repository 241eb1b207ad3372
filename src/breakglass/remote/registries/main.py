"""The start of the script `registries`: all endpoints and tags at the same time."""

from __future__ import annotations

import json
import os
import threading
import time
import traceback
from typing import Any, NoReturn

from breakglass.remote.faults import FAILED, Fault, fail
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
    threads = []
    for question in questions:
        for endpoint in question["endpoints"]:
            session = AnonymousSession(question, endpoint, began, seconds)
            for tag in question["tags"]:
                about = {
                    "registry": question["registry"],
                    "url": endpoint["url"],
                    "repository": question["repository"],
                    "tag": tag,
                }
                answers.append(
                    {**about, "state": "unreachable", "detail": session.no_answer, "missing": []}
                )
                # Daemons: a resolver without servers cannot be interrupted, and is left behind.
                threads.append(
                    threading.Thread(
                        target=look,
                        args=(session, tag, question["architecture"], answers, len(answers) - 1),
                        daemon=True,
                    )
                )
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
