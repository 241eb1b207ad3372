"""Writes the directories in the PATH of the hosts: stand-ins, and links to chosen tools of this
machine.

No other program is in the PATH, so no command of a host can run this machine's own docker,
containerd or systemd.
"""

import shlex
import shutil
import sys
from pathlib import Path

import breakglass

# The tools of a server, but none that could reach beyond the sandbox.
TOOLS = """
[ awk base64 basename bash cat chmod chown cmp cp cut date dd df diff dirname du echo env expr
false fallocate find flock fuser grep groups gunzip gzip head id install kill ln ls lsof md5sum
mkdir mkfifo mktemp mv nice nohup nproc od pgrep pigz printenv printf ps pwd readlink realpath rm
rmdir sed seq setsid sh sha256sum sleep sort ss stat stty sync tac tail tar tee
test timeout touch tr true truncate uname uniq unlink wc which xargs zcat
"""
NAS_TOOLS = ("cat", "ls", "wc", "tail", "readlink")

# The hosts have no root: all their files belong to the user who started the sandbox.
SUDO = """#!/bin/sh
[ "$1" = -n ] && shift
[ "$1" = -- ] && shift
case $1 in
    '' | -*)
        echo "sudo: the sandbox's stand-in knows only: sudo [-n] COMMAND, not '$1'" >&2
        exit 2
        ;;
esac
if ! command -v "$1" >/dev/null; then
    echo "sudo: $1: command not found" >&2
    exit 1
fi
exec "$@"
"""
# The free space on this machine's own disk must not decide what the sandbox's nodes can do.
DF = """#!/bin/sh
if [ "$1" != -Pk ]; then
    echo "df: the sandbox's stand-in knows only: df -Pk DIRECTORY" >&2
    exit 2
fi
echo 'Filesystem 1024-blocks Used Available Capacity Mounted on'
echo 'sandbox 100000000 50000000 50000000 50% /'
"""
HOSTNAME = """#!/bin/sh
basename "$BREAKGLASS_SANDBOX_HOST"
"""


def write_programs(root: Path, *, ssh_config: Path) -> dict[str, list[Path]]:
    """Write the directories below `root`. Returns the PATH of a `vm`, a `nas` and a `node`."""
    tools, nas, common, vm, node = (
        root / name for name in ("tools", "nas", "common", "vm", "node")
    )
    for directory in (tools, nas, common, vm, node):
        directory.mkdir(parents=True)
    for name in TOOLS.split():
        if program := shutil.which(name):
            (tools / name).symlink_to(program)
    # Not the python3 of PATH, which may be a shim that needs the user's HOME.
    (tools / "python3").symlink_to(Path(sys.executable).resolve())
    # Not busybox's shell, which has all of busybox's tools built in.
    (nas / "sh").symlink_to(shutil.which("sh") or "/bin/sh")
    busybox = shutil.which("busybox")
    for name in NAS_TOOLS:
        if program := busybox or shutil.which(name):
            (nas / name).symlink_to(program)
    _script(common / "sudo", SUDO)
    _script(common / "hostname", HOSTNAME)
    _stand_in(vm, "docker")
    _script(node / "df", DF)
    _stand_in(node, "ctr")
    _stand_in(node, "containerd")
    if ssh := shutil.which("ssh"):
        command = shlex.join(("exec", ssh, "-F", str(ssh_config)))
        _script(node / "ssh", f'#!/bin/sh\n{command} "$@"\n')
    return {"vm": [vm, common, tools], "nas": [nas], "node": [node, common, tools]}


def write_control(directory: Path) -> None:
    """Write the `sandbox` command, which controls the sandbox from inside, and `breakglass`."""
    directory.mkdir(parents=True)
    _script(directory / "sandbox", _module("breakglass.sandbox.standins.control"))
    own = Path(sys.executable).with_name("breakglass")
    if own.exists():
        (directory / "breakglass").symlink_to(own)


def _stand_in(directory: Path, name: str) -> None:
    _script(directory / name, _module(f"breakglass.sandbox.standins.{name}"))


def _module(name: str) -> str:
    source = Path(breakglass.__file__).resolve().parents[1]
    # _exit(), since the regular end of an interpreter takes as long as its start.
    program = (
        f"import os, sys; sys.path.insert(0, {str(source)!r}); from {name} import main; "
        f"status = main(sys.argv[1:]); sys.stdout.flush(); os._exit(status)"
    )
    # -S: the stand-ins need the standard library only, and start in half the time.
    line = shlex.join(("exec", str(Path(sys.executable).resolve()), "-I", "-S", "-c", program))
    return f'#!/bin/sh\n{line} "$@"\n'


def _script(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
