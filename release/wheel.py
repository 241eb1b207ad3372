"""What the wheel has beside the sources: breakglass-remote.pyz, so that nobody has to build it."""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Zipapp(BuildHookInterface[Any]):
    """Called by hatchling: pyproject.toml names this file."""

    directory_of_zipapp = ""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        sys.path.insert(0, str(Path(self.root) / "src"))
        from breakglass.remote.arguments import PROGRAM
        from breakglass.remote.pack import pack

        self.directory_of_zipapp = tempfile.mkdtemp()
        path = Path(self.directory_of_zipapp) / PROGRAM
        path.write_bytes(pack())
        build_data["force_include"][str(path)] = f"breakglass/{PROGRAM}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        del version, build_data, artifact_path
        shutil.rmtree(self.directory_of_zipapp, ignore_errors=True)
