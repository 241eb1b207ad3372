"""What is in memory before COMMAND starts."""

import subprocess
import sys

LISTS = """
import pkgutil, sys, breakglass
from breakglass.cli.preload import preload
preload()
walked = (module.name for module in pkgutil.walk_packages(breakglass.__path__, "breakglass."))
print(*(name for name in walked if name not in sys.modules))
"""


def test_every_module_is_in_memory_but_those_that_only_hosts_run_and_the_sandbox() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LISTS], capture_output=True, text=True, check=True, timeout=60
    )
    left = ended.stdout.split()
    assert all(
        name.startswith(("breakglass.remote", "breakglass.sandbox", "breakglass.__main__"))
        for name in left
    ), left
    assert "breakglass.sandbox.api" in left
