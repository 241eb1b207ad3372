"""The sandbox beside the real thing: how each is asked, and what breakglass reads of the answer."""

import json
import re
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from breakglass.errors import BreakglassError
from breakglass.observe.cluster import parse_node, parse_pod
from breakglass.observe.containerd import Ctr, honours_pinned, read_containerd
from breakglass.observe.containerd import read_targets as names_of
from breakglass.observe.containerd_config import CRI
from breakglass.observe.containerd_namespace import read_namespace
from breakglass.observe.managers import UNKNOWN
from breakglass.observe.volumes import parse_volume
from breakglass.plan import Argv, Host, command_line
from breakglass.ports import Result
from breakglass.remote.distribution.tokens import challenges_of
from breakglass.shape import parse_toml


class Pair(NamedTuple):
    """What was read of the two answers to a request."""

    request: str
    real: Any
    sandbox: Any

    def __str__(self) -> str:
        return f"{self.request}\n    real:    {self.real}\n    sandbox: {self.sandbox}"


def assert_alike(pairs: list[Pair]) -> None:
    different = [str(pair) for pair in pairs if pair.real != pair.sandbox]
    assert not different, "\n".join(["answered differently:", *different])


# HTTP

Ended = subprocess.CompletedProcess[str]
CURL = ("curl", "--silent", "--show-error", "--max-time", "20", "--http1.1", "--include")


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: str


class Server(NamedTuple):
    """A server, and how to run curl where it is reached from."""

    run: Callable[..., Ended]
    url: str
    options: tuple[str, ...] = ()

    def ask(self, method: str, path: str, headers: dict[str, str], body: str = "") -> Answer:
        how = ["--head"] if method == "HEAD" else ["--request", method]
        how += ["--data-binary", "@-"] if body else []
        for name, value in headers.items():
            how += ["--header", f"{name}: {value}"]
        ended = self.run(*CURL, *how, *self.options, self.url + path, input=body)
        head, _, content = ended.stdout.replace("\r\n", "\n").partition("\n\n")
        first, *lines = head.split("\n")
        fields = (line.partition(": ") for line in lines)
        named = {name.lower(): value for name, _, value in fields}
        return Answer(int(first.split()[1]), named, content)


def here(*argv: str, input: str) -> Ended:
    return subprocess.run(argv, input=input, capture_output=True, text=True, check=True)


# The registry


def read_registry(answer: Answer) -> Any:
    """Status, what is served and its bytes; of an error its code, and which login is wanted."""
    if answer.status == 200:
        names = ("content-type", "content-length", "docker-content-digest")
        about = [answer.headers.get(name, "").partition(";")[0] for name in names]
        return answer.status, about, answer.body
    errors = json.loads(answer.body)["errors"] if answer.body else []
    challenges = challenges_of([answer.headers.get("www-authenticate", "")])
    wanted = {scheme: sorted(parameters) for scheme, parameters in challenges.items()}
    return answer.status, [error["code"] for error in errors], wanted


# The API server

MERGE = "application/merge-patch+json"
SAYS_WHY = (401, 403, 404, 409)
"""Statuses whose words are compared; of what is malformed a real server says where it is wrong."""

LogIn = Callable[[str], tuple[dict[str, str], tuple[str, ...]]]
"""User -> headers, and options of curl."""


class Call(NamedTuple):
    method: str
    path: str
    body: Any = ""
    """VERSION and CONTINUE stand for what the answers before had."""
    user: str = "breakglass"
    """`nobody` has no right, `stranger` a wrong token, `anonymous` none."""
    content_type: str = ""


class Conversation:
    """Calls to one API server, one after the other."""

    def __init__(self, server: Server, log_in: LogIn) -> None:
        self._server, self._log_in = server, log_in
        self._last = {"VERSION": "0", "CONTINUE": ""}

    def ask(self, call: Call) -> Any:
        path, body = call.path, call.body if isinstance(call.body, str) else json.dumps(call.body)
        for name, value in self._last.items():
            path, body = path.replace(name, value), body.replace(name, value)
        headers, options = self._log_in(call.user)
        default = MERGE if call.method == "PATCH" else "application/json"
        headers |= {"Accept": "application/json", "Content-Type": call.content_type or default}
        answer = self._server._replace(options=options).ask(call.method, path, headers, body)
        return answer.status, self._read(json.loads(answer.body))

    def _read(self, document: dict[str, Any]) -> Any:
        """What breakglass reads, and whether the resourceVersion is the one before."""
        kind, metadata = document["kind"], document.get("metadata", {})
        if kind == "Status":
            words = re.sub('User "[^"]*"', "User", document["message"])
            about = [document[key] for key in ("apiVersion", "status", "reason", "code")]
            return about, words if document["code"] in SAYS_WHY else ""
        if kind == "Node":
            before, self._last["VERSION"] = self._last["VERSION"], metadata["resourceVersion"]
            return node(document), metadata["resourceVersion"] == before
        if kind == "SelfSubjectAccessReview":
            return kind, document["status"]["allowed"]
        self._last["CONTINUE"] = metadata.get("continue", "")
        items = [LISTS[kind](item) for item in document["items"]]
        return kind, items, bool(self._last["CONTINUE"])


def node(item: dict[str, Any]) -> Any:
    """All that breakglass reads of a node but its resourceVersion."""
    assert item["metadata"]["resourceVersion"]
    # Which client set a field is the client's matter.
    return replace(parse_node(item), resource_version="", cordon=UNKNOWN)


LISTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "NodeList": node,
    "PodList": parse_pod,
    "PersistentVolumeList": parse_volume,
}


# ctr

HOST = Host("k8s-node1", "root@k8s-node1")
TARBALLS = "var/breakglass"
STORE = "var/lib/containerd/io.containerd.content.v1.content/blobs/sha256"


def config_path(dump: str) -> Any:
    plugins = parse_toml(dump)["plugins"]
    found = [plugins.get(name, {}).get("registry", {}).get("config_path") for name in CRI]
    return list(filter(None, found))


READS: dict[str, Callable[[str], Any]] = {
    "containerd config dump": config_path,
    "ctr plugins ls -d id==content": lambda dump: re.findall(r"(?m)^\s+root\s+(/.*\S)\s*$", dump),
}


class Node(NamedTuple):
    """A node, asked as breakglass asks its hosts."""

    run: Callable[..., subprocess.CompletedProcess[bytes]]
    files: Path
    """Its root directory, as seen from here."""
    root: str = ""
    """What stands before its paths when it is talked to."""

    def ask(self, _: Host, *pipeline: Argv, quiet_seconds: float = 30.0) -> Result:  # noqa: ARG002
        ended = self.run("sh", "-c", command_line(pipeline, sudo=False))
        return Result(ended.returncode, ended.stdout, ended.stderr)

    def play(self, lines: tuple[str, ...], names: tuple[str, ...], namespace: str) -> list[Any]:
        """What became of each line, and what there is at the end."""
        ctr = Ctr(("ctr",), namespace)
        ended = []
        for line in (*lines, "look"):
            ended.append(self._look(names, ctr) if line == "look" else self._do(line, ctr))
        return ended

    def _look(self, names: tuple[str, ...], ctr: Ctr) -> Any:
        try:
            found = read_containerd(self, HOST, ctr, names=names, architecture="amd64")
            keeps = honours_pinned(found.version)
            return replace(found, version=""), keeps, read_namespace(self, HOST, ctr)
        except BreakglassError as error:
            return error.message

    def _do(self, line: str, ctr: Ctr) -> Any:
        """Exit status, the last words of a failure, and what is read of the output."""
        ended = self.ask(HOST, *self._pipeline(line, ctr))
        output, errors = (self._plain(each) for each in (ended.stdout, ended.stderr))
        words = "" if ended.ok else errors.strip().rpartition("\n")[2]
        return line, ended.exit_status, words, READS[line](output) if line in READS else ""

    def _pipeline(self, line: str, ctr: Ctr) -> tuple[Argv, ...]:
        verb, _, what = line.partition(" ")
        if verb == "import":
            tarball = f"{self.root}/{TARBALLS}/{what}.tar.gz"
            return ("gzip", "-dc", tarball), ctr.line("images", "import", "-")
        if verb == "lose":
            digest = what if what.startswith("sha256:") else names_of(self, HOST, ctr)[what]
            (self.files / STORE / digest.removeprefix("sha256:")).unlink()
            return (ctr.line("content", "get", digest),)
        typed = line.replace("NAMESPACE", ctr.namespace)
        typed = typed.replace("ctr ", shlex.join(ctr.line()) + " ")
        return tuple(tuple(shlex.split(part)) for part in typed.split("|"))

    def _plain(self, output: bytes) -> str:
        return output.decode().replace(f"{self.root}/", "/")
