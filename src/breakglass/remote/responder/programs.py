"""Programs of the node that are run and waited for."""

from __future__ import annotations

import subprocess

from breakglass.remote.faults import FAILED, Fault


def run(*argv: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Fault(
            FAILED,
            (
                f"{argv[0]} does not run here: "
                f"{getattr(error, 'strerror', None) or 'it did not end in 60 seconds'}"
            ),
        ) from error


def last_line(text: bytes) -> str:
    return (
        [""]
        + [line.strip() for line in text.decode("utf-8", "replace").splitlines() if line.strip()]
    )[-1]
