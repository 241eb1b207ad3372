"""A node's directory of ours and its config_path, and the script `taken` run on them."""

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from breakglass.observe.answering import MARK, Site, _site
from tests.interpreters import HOST, script, zipapp

REGISTRY, NAMESPACE = "registry.example:5050", "k8s.io"


LINES = (
    f"{MARK}, so that this node serves the image locally",
    '[host."http://127.0.0.1:4000"]',
    '  capabilities = ["pull", "resolve"]',
)


OURS = "".join(f"{line}\n" for line in LINES)


SERVED = (
    b'server = "https://registry.example:5050"\n\n[host."https://mirror.example"]\n  '
    b'capabilities = ["pull"]\n'
)


# Ends the process, as a kill does, before its Nth change of the file system.
KILLED = """
import os, sys
left, changing = int(sys.argv.pop(1)), {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "os.chown", "os.utime"}
def count(event, arguments):
    global left
    if event in changing or (event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
        left -= 1
        if left == 0:
            os._exit(137)
sys.path.insert(0, sys.argv.pop(1))
from breakglass.remote.taken.main import main
sys.addaudithook(count)
sys.exit(main(sys.argv[1:], None))
"""  # noqa: E501


class Node:
    """A directory of ours with its record, and a config_path of containerd, below one root."""

    def __init__(self, root: Path) -> None:
        self.root, self.directory, self.certs = (
            root,
            root / "breakglass",
            root / "containerd/certs.d",
        )
        self.record = self.directory / ".breakglass.json"
        self.file = self.certs / REGISTRY / "hosts.toml"
        self.environment = {"PATH": os.environ["PATH"]}

    def run(self, *argv: object) -> subprocess.CompletedProcess[str]:
        return self._run(*script("taken", *argv))

    def killed(self, before: int, *argv: object) -> bool:
        """Whether it came to its change number `before`, and was killed there."""
        ended = self._run(HOST.python, "-IS", "-c", KILLED, before, zipapp(), *argv)
        assert ended.returncode in (0, 137), ended.stderr
        return ended.returncode == 137

    def reported(self, *argv: object) -> dict[str, Any]:
        ended = self.run(*argv)
        assert (ended.returncode, ended.stderr) == (0, "")
        reported: dict[str, Any] = json.loads(ended.stdout)
        return reported

    def refused(self, *argv: object, status: int = 4) -> str:
        """One sentence on stderr, nothing on stdout, and not a byte of the node has changed."""
        before = self.listing()
        ended = self.run(*argv)
        assert (ended.returncode, ended.stdout) == (status, ""), ended.stderr
        assert ended.stderr.count("\n") == 1
        assert self.listing() == before
        return ended.stderr.rstrip("\n")

    def begin(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.reported("begin", self.directory, "--namespace", NAMESPACE)

    def end(self) -> None:
        self.reported("end", self.directory)

    def insert_line(
        self,
        file: Path | None = None,
        *,
        before: object = "end",
        lines: tuple[str, ...] = LINES,
        copy: Path | None = None,
    ) -> tuple[object, ...]:
        path, source = file or self.file, copy or file or self.file
        onto = hashlib.sha256(source.read_bytes()).hexdigest() if source.exists() else "absent"
        return (
            "insert",
            self.directory,
            path,
            "--onto",
            onto,
            *(("--copy", copy) if copy else ()),
            "--before",
            before,
            "--",
            *lines,
        )

    def insert(
        self,
        file: Path | None = None,
        *,
        before: object = "end",
        lines: tuple[str, ...] = LINES,
        copy: Path | None = None,
    ) -> None:
        self.reported(*self.insert_line(file, before=before, lines=lines, copy=copy))

    def put_back(self, file: Path | None = None) -> dict[str, Any]:
        return self.reported("put_back", self.directory, file or self.file)

    def read(self, *more: object) -> dict[str, Any]:
        return self.reported("read", self.directory, "--certs", self.certs, *more)

    def site(self, registry: str = REGISTRY) -> dict[str, Any]:
        found: dict[str, Any] = self.read("--registry", registry)["sites"][registry]
        return found

    def recorded(self) -> dict[str, Any]:
        files: dict[str, Any] = json.loads(self.record.read_text())["files"]
        return files

    def write(self, content: bytes, path: Path | None = None) -> Path:
        target = path or self.file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        return target

    def listing(self) -> dict[str, tuple[object, ...]]:
        """Everything below the root: kind and mode, owner, content; of files and links the time as
        well.
        """
        found: dict[str, tuple[object, ...]] = {}
        for path in sorted(self.root.rglob("*")):
            status = path.lstat()
            what: tuple[object, ...] = ()
            if path.is_symlink():
                what = (str(path.readlink()), status.st_mtime_ns)
            elif path.is_file():
                what = (path.read_bytes(), status.st_mtime_ns)
            found[str(path.relative_to(self.root))] = (
                oct(status.st_mode),
                status.st_uid,
                status.st_gid,
                *what,
            )
        return found

    def _run(self, *argv: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*map(str, argv)],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env=self.environment,
            stdin=subprocess.DEVNULL,
        )


def fill(node: Node, content: bytes | None, *, mode: int = 0o640) -> None:
    """A hosts.toml from years ago; None: not even its directory."""
    if content is not None:
        node.write(content).chmod(mode)
        os.utime(node.file, ns=(1_000_000_007, 987_654_321_123_456_789))


# A second look, with our own file in place


def site_of(reported: dict[str, Any]) -> Site:
    return _site(REGISTRY, reported)
