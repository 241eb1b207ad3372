"""Runs the `sandbox` command: listens on a local socket that only the user can open."""

import json
import shlex
import socketserver
import threading
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

USAGE = """usage: sandbox status                  what there is, up or down
       sandbox stop NAME ...           a host, a registry, api: pull its plug
       sandbox start NAME ...          the same again
       sandbox cut HOST ...            break its connections; what runs goes on
       sandbox pull NODE TAG           the node gets the image, as kubelet pulls it
       sandbox push TAG [CONTENT]      a new image, as TAG and latest, to both
       sandbox break REGISTRY [TAG [ARCHITECTURE]]
                                       delete what the tag's index (latest) lists,
                                       or the image for one architecture only
       sandbox refuse REGISTRY [CODE]  answer 401 or 403; without CODE serve again
       sandbox mirror                  the offsite job: from the VM to the NAS
       sandbox set NODE taint|label|condition|runtime|pods VALUE
                                       what its Node object reports: KEY=VALUE:EFFECT
                                       or KEY-, KEY=VALUE or KEY-, TYPE=True,
                                       docker://24.0.7, 0
       sandbox set HOST login SECONDS  a login takes that long
       sandbox set HOST banner TEXT    its shell prints TEXT before each command
       sandbox cluster NAME            what the kubeconfig means: sandbox, or another,
                                       which has nodes with the same names
       sandbox run HOST -- COMMAND     run a command with HOST's programs and HOME,
                                       but as YOU, on the files of THIS machine
"""


@dataclass(frozen=True)
class Answer:
    exit_status: int
    stdout: str = ""
    stderr: str = ""


class Controlled(Protocol):
    """What the command can do to the sandbox. Raises LookupError for a name that does not exist."""

    def status(self) -> dict[str, str]: ...
    def stop(self, name: str) -> None: ...
    def start(self, name: str) -> None: ...
    def cut(self, name: str) -> None: ...
    def pull(self, node: str, tag: str) -> str: ...
    def push(self, tag: str, *, content: str | None = None) -> str: ...
    def break_image(
        self, registry: str, tag: str, architecture: str | None = None
    ) -> list[str]: ...
    def refuse(self, registry: str, code: int | None) -> None: ...
    def mirror(self) -> list[str]: ...
    def set(self, name: str, setting: str, value: str) -> None: ...
    def use_cluster(self, name: str) -> None: ...
    def run(self, host: str, argv: list[str]) -> tuple[int, bytes, bytes]: ...


def control(environment: Controlled, argv: list[str]) -> Answer:
    """Run one command line of the `sandbox` command."""
    try:
        answer = _dispatch(environment, argv)
    except LookupError as error:
        return Answer(2, stderr=f"sandbox: {error.args[0]}\n")
    except OSError as error:  # somebody has taken the port of a part that is to start, say
        return Answer(1, stderr=f"sandbox: {shlex.join(argv)}: {error.strerror or error}\n")
    if answer is not None:
        return answer
    if argv in (["help"], ["--help"], ["-h"]):
        return Answer(0, USAGE)
    mistake = f"sandbox: not understood: {shlex.join(argv)}\n" if argv else ""
    return Answer(2, stderr=mistake + USAGE)


def _dispatch(environment: Controlled, argv: list[str]) -> Answer | None:
    match argv:
        case ["status"]:
            return _lines(f"{name}: {state}" for name, state in environment.status().items())
        case ["stop" | "start" | "cut" as verb, _, *_]:
            act: Callable[[str], None] = getattr(environment, verb)
            for name in argv[1:]:
                act(name)
            return Answer(0)
        case ["pull", node, tag]:
            return _lines([environment.pull(node, tag)])
        case ["push", tag]:
            return _lines([environment.push(tag)])
        case ["push", tag, content]:
            return _lines([environment.push(tag, content=content)])
        case ["break", registry]:
            return _deleted(environment.break_image(registry, "latest"))
        case ["break", registry, tag]:
            return _deleted(environment.break_image(registry, tag))
        case ["break", registry, tag, architecture]:
            return _deleted(environment.break_image(registry, tag, architecture))
        case ["refuse", registry]:
            environment.refuse(registry, None)
            return Answer(0)
        case ["refuse", registry, "401" | "403" as code]:
            environment.refuse(registry, int(code))
            return Answer(0)
        case ["set", name, setting, value]:
            environment.set(name, setting, value)
            return Answer(0)
        case ["cluster", name]:
            environment.use_cluster(name)
            return Answer(0)
        case ["mirror"]:
            return _lines(environment.mirror())
        case ["run", host, "--", _, *_]:
            status, stdout, stderr = environment.run(host, argv[3:])
            return Answer(
                status if status >= 0 else 128 - status,
                stdout.decode(errors="replace"),
                stderr.decode(errors="replace"),
            )
    return None


def _deleted(digests: list[str]) -> Answer:
    return _lines(f"deleted {digest}" for digest in digests)


def _lines(lines: Iterable[str]) -> Answer:
    return Answer(0, "".join(f"{line}\n" for line in lines))


class ControlSocket:
    """Listens at `path` until it is closed."""

    def __init__(self, environment: Controlled, path: Path) -> None:
        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                if line := self.rfile.readline():
                    self.wfile.write(
                        json.dumps(asdict(control(environment, json.loads(line)))).encode() + b"\n"
                    )

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, request: object, client_address: object) -> None:
                """Print nothing about a client that has gone away."""

        self._server = Server(str(path), Handler)
        path.chmod(0o600)
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.05},
            name="sandbox control",
            daemon=True,
        )
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
