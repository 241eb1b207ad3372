"""Where the process is, and where its user is at home."""

import os
from pathlib import Path


def home() -> Path:
    """The user's home directory. A user whom the system does not know has none; then it is `/`, as
    container runtimes have it.
    """
    try:
        return Path.home()
    except RuntimeError:
        os.environ["HOME"] = "/"
        return Path.home()


def working_directory() -> Path:
    """The working directory. Of one that was deleted only this description is left: no file is
    below it, and messages stay readable.
    """
    try:
        return Path.cwd()
    except OSError:
        return Path("(the deleted working directory)")
