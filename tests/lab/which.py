"""Which environment this process means: several may stand at once on one machine, each with its own
namespaces, disks and state.
"""

import os
import re

NAME = os.environ.get("BREAKGLASS_LAB") or os.environ.get("PYTEST_XDIST_WORKER") or ""
"""Empty for the one that is meant when nobody says otherwise; each worker of `pytest -n` has its
own.
"""

if not re.fullmatch(r"[a-z0-9]{0,8}", NAME):
    raise ValueError(f"$BREAKGLASS_LAB takes up to eight small letters and digits, not {NAME!r}")


def own(name: str) -> str:
    """A name of this environment alone."""
    return f"{name}-{NAME}" if NAME else name
