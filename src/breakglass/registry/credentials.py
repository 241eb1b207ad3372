"""The file of the operator's machine in which docker or podman keep logins for registries."""

from collections.abc import Mapping
from pathlib import Path

from breakglass.local_files import read_regular
from breakglass.remote.distribution.logins import Credentials, read_logins


def read_credentials(environ: Mapping[str, str], home: Path) -> Credentials:
    """From $REGISTRY_AUTH_FILE, else ~/.docker/config.json. A file that cannot be read is an
    excuse, printed when a registry refuses us.
    """
    path = Path(environ.get("REGISTRY_AUTH_FILE") or home / ".docker" / "config.json")
    try:
        content = read_regular(path).content
    except OSError as error:
        return Credentials(str(path), excuses={"": f"{path} cannot be read: {error.strerror}"})
    advice = "put it into a file and name that in $REGISTRY_AUTH_FILE"
    return read_logins(content, str(path), advice=advice)
