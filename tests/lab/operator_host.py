"""The operator's machine: where breakglass is run."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from .host import Host
from .process import HostProcess

REPOSITORY_ROOT = Path(__file__).resolve().parents[2]
CONFIGURATION = "/root/breakglass.yaml"


class Operator(Host):
    """A host with keys, known hosts, kubeconfigs and the project's breakglass."""

    def breakglass(
        self,
        *argv: str,
        env: Mapping[str, str] | None = None,
        input: str | None = None,
        timeout: float = 300,
    ) -> subprocess.CompletedProcess[str]:
        """Run breakglass to its end, whatever its exit code; without `input` its stdin is no
        terminal and empty.
        """
        return self.run(
            program(),
            *argv,
            env=variables(env),
            cwd="/root",
            input=input,
            timeout=timeout,
            check=False,
        )

    def start_breakglass(self, *argv: str, env: Mapping[str, str] | None = None) -> HostProcess:
        """Start breakglass and go on; send_signal reaches it, communicate() collects it."""
        return self.popen(program(), *argv, env=variables(env), cwd="/root")

    def interrupt(
        self, child: HostProcess, sig: int = signal.SIGTERM, *, timeout: float = 60
    ) -> tuple[int, str, str]:
        """Signal a started breakglass and collect (exit code, stdout, stderr)."""
        child.send_signal(sig)
        out, err = child.communicate(timeout=timeout)
        return child.returncode, out, err


def variables(extra: Mapping[str, str] | None) -> dict[str, str]:
    """The example configuration, unless the caller says otherwise; coverage and the like come
    through the caller.
    """
    return {"BREAKGLASS_CONFIG": CONFIGURATION} | dict(extra or {})


def program() -> str:
    """The project's breakglass: of its .venv, else beside the running interpreter."""
    candidates = [
        REPOSITORY_ROOT / ".venv/bin/breakglass",
        Path(sys.executable).parent / "breakglass",
    ]
    for candidate in candidates:
        if os.access(candidate, os.X_OK):
            return str(candidate)
    raise FileNotFoundError(
        f"breakglass is not installed: none of {', '.join(map(str, candidates))}"
    )
