"""Finds the configuration file in force."""

import os
from collections.abc import Mapping
from pathlib import Path

from breakglass.config.document import EXAMPLE
from breakglass.errors import Usage, then

SYSTEM_PATH = Path("/etc/breakglass/config.yaml")
_START = then(
    "breakglass sandbox",
    advice=(
        f"write one: image.repository, registry_vm.ssh and registry_vm.directory at the least; "
        f"{EXAMPLE} is one to copy. To practise without any"
    ),
)


def find(
    option: str | None,
    *,
    environ: Mapping[str, str],
    cwd: Path,
    home: Path,
    system: Path = SYSTEM_PATH,
) -> Path:
    """The configuration file in force. A file that is named must exist: no other file takes its
    place. Raises Usage.
    """
    if option is not None:
        return _named("--config", option, cwd=cwd, home=home)
    if variable := environ.get("BREAKGLASS_CONFIG"):
        return _named("$BREAKGLASS_CONFIG", variable, cwd=cwd, home=home)
    # A relative $XDG_CONFIG_HOME is to be ignored: XDG Base Directory Specification.
    xdg = environ.get("XDG_CONFIG_HOME", "")
    directory = Path(xdg) if xdg.startswith("/") else home / ".config"
    places = (cwd / "breakglass.yaml", directory / "breakglass" / "config.yaml", system)
    for path in places:
        if os.path.lexists(path):
            return path
    searched = ("--config (not given)", "$BREAKGLASS_CONFIG (not set)", *map(str, places))
    raise Usage(
        "there is no configuration; looked for it in this order:\n  " + "\n  ".join(searched),
        next_step=_START,
    )


def _named(origin: str, text: str, *, cwd: Path, home: Path) -> Path:
    path = cwd / (home / text[2:] if text.startswith("~/") else text)
    if not os.path.lexists(path):
        raise Usage(f"{origin} names {str(path)!r}, and there is no such file", next_step=_START)
    return path
