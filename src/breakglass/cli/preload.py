"""Everything that undoing needs, in memory before COMMAND starts: COMMAND may upgrade or remove
breakglass, and our files are gone then.
"""

import importlib
import pkgutil
from contextlib import suppress

import breakglass
from breakglass.plan import script
from breakglass.ssh.wire import wire

_NOT_NEEDED = ("breakglass.remote", "breakglass.sandbox", "breakglass.__main__")
"""What runs on hosts travels as one file; the others undo nothing."""
_LAZY = (
    "asyncio",
    "encodings.idna",
    "http.cookies",
    "kubernetes.client.exceptions",
    "kubernetes.config",
    "rich.traceback",
    "stringprep",
    "traceback",
    "urllib3.contrib.socks",
    "urllib3.exceptions",
    "urllib3.util.ssl_",
)
"""Modules of libraries that are imported only when they are used."""


def preload() -> None:
    # What hosts run is read from its files once.
    wire((script("taken"),), sudo=False)
    for module in pkgutil.walk_packages(breakglass.__path__, "breakglass."):
        if not module.name.startswith(_NOT_NEEDED):
            importlib.import_module(module.name)
    for name in _LAZY:
        with suppress(ImportError):
            importlib.import_module(name)
