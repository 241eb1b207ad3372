"""pytest started by a test: under another Python, or by somebody who leaves it something odd."""

import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
OURS = re.compile("MAKE|MFLAGS|PYTEST")
"""What the make and the pytest that run us leave to what they start."""


def run(*argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """In the checkout, without a terminal."""
    inherited = {name: value for name, value in os.environ.items() if not OURS.match(name)}
    return subprocess.run(
        argv,
        cwd=ROOT,
        env={**inherited, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )
