"""The images of containerd's table."""

from __future__ import annotations

import re
import subprocess

from breakglass.remote.faults import FAILED, REFUSED, Fault
from breakglass.remote.responder.arguments import DIGEST, MEDIA_TYPE
from breakglass.remote.responder.programs import last_line


def images_of(ctr: list[str]) -> dict[str, tuple[str, str]]:
    """Name -> media type and digest, from the table of `ctr images ls`."""
    try:
        ended = subprocess.run(
            [*ctr, "images", "ls"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
    except FileNotFoundError as error:
        raise Fault(REFUSED, f"{ctr[0]} is not installed here") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Fault(
            FAILED,
            (
                f"{ctr[0]} does not run here: "
                f"{getattr(error, 'strerror', None) or 'it did not answer in 60 seconds'}"
            ),
        ) from error
    if ended.returncode:
        raise Fault(
            FAILED,
            (
                f"{' '.join(ctr)} images ls failed: "
                f"{last_line(ended.stderr) or f'exit code {ended.returncode}'}"
            ),
        )
    rows = [line.split()[:3] for line in ended.stdout.decode("utf-8", "replace").splitlines()]
    return {
        row[0]: (row[1], row[2])
        for row in rows
        if len(row) == 3 and re.fullmatch(MEDIA_TYPE, row[1]) and re.fullmatch(DIGEST, row[2])
    }
