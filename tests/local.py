"""A host that is this machine: commands run in real shells, so that readers are tested over what
they really send.
"""

import os
import subprocess
from pathlib import Path

from breakglass.plan import Argv, Host, command_line
from breakglass.ports import Result

HOST = Host("here", "root@here")


class LocalReads:
    """Implements ports.Reads. `path` replaces PATH, to play a NAS or a machine that lacks a
    command.
    """

    def __init__(self, path: str | None = None, home: Path | None = None) -> None:
        self._environ = {**os.environ, "LC_ALL": "C"}
        if path is not None:
            self._environ["PATH"] = path
        if home is not None:
            self._environ["HOME"] = str(home)
        self.asked: list[str] = []

    def ask(self, host: Host, *pipeline: Argv, quiet_seconds: float = 30.0) -> Result:
        line = command_line(pipeline, sudo=host.sudo)
        self.asked.append(line)
        ended = subprocess.run(
            ["/bin/sh", "-c", line],
            env=self._environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=quiet_seconds,
            check=False,
        )
        return Result(ended.returncode, ended.stdout, ended.stderr)
