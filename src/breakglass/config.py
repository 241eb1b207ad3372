"""YAML to one frozen Config, every fault at once; and the grammars of all that a person names, for the command line as well."""

import ipaddress
import math
import os
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from breakglass.errors import Usage

T = TypeVar("T")

SYSTEM_PATH = Path("/etc/breakglass/config.yaml")
REGISTRY_VM = "registry-vm"
MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Image:
    repository: str
    name: str
    also_known_as: tuple[str, ...] = ()
    companions: tuple[str, ...] = ()

    def names(self, tag: str) -> tuple[str, ...]:
        """Every reference that pods use for the image saved under this tag; the one it is pulled by comes first."""
        return tuple(dict.fromkeys((f"{self.repository}:{tag}", *(name.replace("{tag}", tag) for name in self.also_known_as))))

    def tarball(self, tag: str) -> str:
        """The file's name; also that of the link, for the tag `latest`."""
        return f"{self.name}-{tag}.tar.gz"


@dataclass(frozen=True)
class RegistryVm:
    ssh: str
    directory: str
    keep: int = 5
    sudo: bool = False


@dataclass(frozen=True)
class Fallback:
    name: str
    ssh: str
    directory: str


@dataclass(frozen=True)
class Nodes:
    ssh_user: str | None = None
    hosts: dict[str, str] = field(default_factory=dict)
    directory: str = "/var/breakglass"
    sudo: bool = True
    ctr: tuple[str, ...] = ("ctr",)
    namespace: str = "k8s.io"
    registry_config: str = "/etc/containerd/certs.d"
    answer_pulls: bool = True


@dataclass(frozen=True)
class Registry:
    name: str
    url: str
    repository: str
    ca: Path | None = None


@dataclass(frozen=True)
class Ssh:
    config: Path
    known_hosts: Path
    connect_timeout_seconds: float = 5.0


@dataclass(frozen=True)
class Kubernetes:
    kubeconfig: Path | None = None
    context: str | None = None


@dataclass(frozen=True)
class Status:
    max_age_hours: float = 192.0


@dataclass(frozen=True)
class Config:
    image: Image
    registry_vm: RegistryVm
    fallbacks: tuple[Fallback, ...]
    nodes: Nodes
    registries: tuple[Registry, ...]
    ssh: Ssh
    kubernetes: Kubernetes
    status: Status
    source: Path
    """The file that it was read from."""


def find(option: str | None, *, environ: Mapping[str, str], cwd: Path, home: Path, system: Path = SYSTEM_PATH) -> Path:
    """The configuration file in force; one that is named is never passed over for another. Raises Usage."""
    start = "copy breakglass.example.yaml to ./breakglass.yaml and put your estate into it; or practise without any: breakglass sandbox"
    named = ("--config", option) if option is not None else ("$BREAKGLASS_CONFIG", environ.get("BREAKGLASS_CONFIG") or None)
    if named[1] is not None:
        path = cwd / (home / named[1][2:] if named[1].startswith("~/") else named[1])
        if not os.path.lexists(path):
            raise Usage(f"{named[0]} names {str(path)!r}, and there is no such file", next_step=start)
        return path
    # A relative $XDG_CONFIG_HOME is to be ignored: XDG Base Directory Specification.
    xdg = environ.get("XDG_CONFIG_HOME", "")
    user = (Path(xdg) if xdg.startswith("/") else home / ".config") / "breakglass" / "config.yaml"
    places = (cwd / "breakglass.yaml", user, system)
    for path in places:
        if os.path.lexists(path):
            return path
    looked = "".join(f"\n  {place}" for place in ("--config (not given)", "$BREAKGLASS_CONFIG (not set)", *places))
    raise Usage(f"there is no configuration; looked for it in this order:{looked}", next_step=start)


def load(path: Path) -> Config:
    """Read a configuration file. Raises one Usage that names every fault of it."""
    value, faults = _parse(path)
    top = _Section(value, "", faults)
    image, vm, nodes, ssh, kube, status = (top.section(key) for key in ("image", "registry_vm", "nodes", "ssh", "kubernetes", "status"))
    local = _local_path(path.absolute().parent)
    repository = image.take("repository", _text(check_repository))
    fallbacks, registries = top.sections("fallbacks"), top.sections("registries")
    config = Config(
        image=Image(
            repository=repository,
            name=image.take("name", _optional(_text(check_file_name)), None) or repository.rpartition("/")[2],
            also_known_as=image.items("also_known_as", _text(_check_template)),
            companions=image.items("companions", _text(check_reference)),
        ),
        registry_vm=RegistryVm(
            ssh=vm.take("ssh", _text(check_destination)),
            directory=vm.take("directory", _text(check_path)),
            keep=vm.take("keep", _positive_whole, RegistryVm.keep),
            sudo=vm.take("sudo", _truth, RegistryVm.sudo),
        ),
        fallbacks=tuple(Fallback(each.take("name", _text(check_source)), each.take("ssh", _text(check_destination)), each.take("directory", _text(check_path))) for each in fallbacks),
        nodes=Nodes(
            ssh_user=nodes.take("ssh_user", _optional(_text(check_user)), Nodes.ssh_user),
            hosts=nodes.pairs("hosts", _text(check_node_name), _text(check_destination)),
            directory=nodes.take("directory", _text(check_path), Nodes.directory),
            sudo=nodes.take("sudo", _truth, Nodes.sudo),
            ctr=nodes.items("ctr", _text(_check_word), *Nodes.ctr),
            namespace=nodes.take("namespace", _text(_check_namespace), Nodes.namespace),
            registry_config=nodes.take("registry_config", _text(check_path), Nodes.registry_config),
            answer_pulls=nodes.take("answer_pulls", _truth, Nodes.answer_pulls),
        ),
        registries=tuple(
            Registry(each.take("name", _text(check_source)), each.take("url", _text(_check_url)), each.take("repository", _text(_check_repository_path)), each.take("ca", _optional(local), None))
            for each in registries
        ),
        ssh=Ssh(
            config=ssh.take("config", local, Path("~/.ssh/config").expanduser()),
            known_hosts=ssh.take("known_hosts", local, Path("~/.ssh/known_hosts").expanduser()),
            connect_timeout_seconds=ssh.take("connect_timeout_seconds", _positive, Ssh.connect_timeout_seconds),
        ),
        kubernetes=Kubernetes(kube.take("kubeconfig", _optional(local), None), kube.take("context", _optional(_text(_check_context)), None)),
        status=Status(status.take("max_age_hours", _positive, Status.max_age_hours)),
        source=path,
    )
    for section in (top, image, vm, nodes, ssh, kube, status, *fallbacks, *registries):
        section.close()
    faults += _repeated("fallbacks", [fallback.name for fallback in config.fallbacks], taken=(REGISTRY_VM,))
    faults += _repeated("registries", [registry.name for registry in config.registries])
    if faults:
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise Usage(f"{path} has {count}:" + "".join(f"\n  {fault}" for fault in faults), next_step=f"correct it: {path}; breakglass.example.yaml shows every key")
    return config


def check_tag(text: str) -> str:
    """A tag as the distribution specification has it. Like every check here: returns the text, or raises Usage."""
    return _match(text, r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", "tag", "a letter, a digit or _, then up to 127 letters, digits, dots, _ or -")


def check_snapshot_tag(text: str) -> str:
    """A tag that a tarball can be published under: `latest` is the link's name."""
    if text == "latest":
        raise Usage("latest is the name of the link to the newest tarball, so no tarball can be called that", next_step="breakglass snapshot --tag TAG, with the tag of a build")
    return check_tag(text)


def check_reference(text: str) -> str:
    """A full reference, REGISTRY/REPOSITORY:TAG. A digest is none: `docker save` changes it."""
    repository, colon, tag = text.rpartition(":")
    if not colon or "/" in tag or "@" in text:
        raise Usage(f"{_show(text)} is not a full reference: REGISTRY/REPOSITORY:TAG, without a digest")
    check_tag(tag)
    check_repository(repository)
    return text


def check_repository(text: str) -> str:
    """A repository with its registry in front, REGISTRY/PATH."""
    host, slash, path = text.partition("/")
    if not slash or not (host == "localhost" or "." in host or ":" in host):
        raise Usage(f"{_show(text)} does not name its registry: REGISTRY/REPOSITORY, docker.io/library/debian say")
    _check_host_port(host, text)
    _check_repository_path(path)
    return text


def check_node_name(text: str) -> str:
    """A Kubernetes node's name (RFC 1123 subdomain) or an IP address."""
    if _is_address(text):
        return text
    label = "[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
    return _match(text, rf"(?=.{{1,253}}\Z){label}(?:\.{label})*", "node's name", "lower-case letters, digits, - and dots, or an IP address")


def check_destination(text: str) -> str:
    """`[user@]host[:port]`, where host may be an alias of the SSH configuration and an IPv6 address with a port is in brackets."""
    user, at, rest = text.rpartition("@")
    if at:
        check_user(user)
    if not _is_address(rest):
        _check_host_port(rest, text)
    return text


def check_user(text: str) -> str:
    """A login name."""
    return _match(text, r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}", "login name", "letters, digits, dots, _ and -")


def check_path(text: str) -> str:
    """An absolute, normalized path on another host."""
    if not text.startswith("/") or text.startswith("//") or text == "/" or posixpath.normpath(text) != text:
        raise Usage(f"{_show(text)} is not an absolute path without '.', '..', doubled or trailing slashes")
    if not all(character.isalnum() or character in "/._-+,:=@ " for character in text):
        raise Usage(f"{_show(text)} is not a path of letters, digits, spaces and / . _ - + , : = @")
    return text


def check_file_name(text: str) -> str:
    """The image's name in file names."""
    return _match(text, r"[a-z0-9][a-z0-9._-]{0,99}", "name for files", "a lower-case letter or digit, then those, dots, _ or -, at most 100")


def check_source(text: str) -> str:
    """The name of a source or of a registry, as `--from` takes it."""
    return _match(text, r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", "name", "a letter or digit, then those, dots, _ or -, at most 63")


def _check_template(text: str) -> str:
    repository, _, tag = text.rpartition(":")
    if "{" in repository or re.search("[{}]", tag.replace("{tag}", "")):
        raise Usage(f"{_show(text)} has a placeholder that is not {{tag}}, or one that is not in the tag")
    check_reference(text.replace("{tag}", "x"))
    return text


def _check_repository_path(text: str) -> str:
    part = "[a-z0-9]+(?:(?:[.]|__?|-+)[a-z0-9]+)*"
    return _match(text, rf"(?=.{{1,255}}\Z){part}(?:/{part})*", "repository", "lower-case letters and digits, joined by dots, _ or -, in parts joined by /")


def _check_url(text: str) -> str:
    scheme, separator, host = text.partition("://")
    if scheme not in ("http", "https") or not separator:
        raise Usage(f"{_show(text)} is not https://HOST[:PORT] (or http://, where that is meant)")
    if "@" in host:
        # Not shown: what stands before the @ is a password.
        raise Usage("it holds a login; logins belong into $REGISTRY_AUTH_FILE or ~/.docker/config.json")
    return f"{scheme}://{_check_host_port(host.removesuffix('/'), text)}"


def _check_namespace(text: str) -> str:
    return _match(text, r"(?=.{1,76}\Z)[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*", "containerd namespace", "letters and digits, joined by dots, _ or -")


def _check_word(text: str) -> str:
    return _match(text, r"[A-Za-z0-9/_-][A-Za-z0-9._:/=@+-]*", "word of a command", "letters, digits and . _ : / = @ + -")


def _check_context(text: str) -> str:
    return _match(text, r"[A-Za-z0-9_][A-Za-z0-9._:/@+ -]*", "context", "letters, digits, spaces and . _ : / @ + -")


def _check_host_port(text: str, whole: str) -> str:
    found = re.fullmatch(r"(?:([A-Za-z0-9_](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?)|\[([0-9A-Fa-f:.]+)\])(?::([0-9]{1,5}))?", text)
    if found is None or (found[2] and not _is_address(found[2])):
        raise Usage(f"{_show(whole)} names no host: HOST or HOST:PORT is wanted there, with an IPv6 address in brackets")
    if found[3] is not None and not 0 < int(found[3]) < 65536:
        raise Usage(f"{_show(whole)} names no port between 1 and 65535")
    return text


def _is_address(text: str) -> bool:
    # The module accepts any text after a `%`, so the characters are looked at first.
    if not re.fullmatch("[0-9A-Fa-f:.]+", text):
        return False
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _match(text: str, grammar: str, noun: str, wanted: str) -> str:
    if len(text) > 1024 or not re.fullmatch(grammar, text, re.ASCII):
        raise Usage(f"{_show(text)} is not a {noun}: {wanted}")
    return text


class _Section:
    """One mapping of the file: what is asked of it is known, what nobody asked for is a fault."""

    def __init__(self, value: object, path: str, faults: list[str]) -> None:
        self._path, self._faults, self._asked = path, faults, list[str]()
        self._is_mapping = value is None or isinstance(value, dict)
        self._values: dict[Any, object] = value if isinstance(value, dict) else {}
        if not self._is_mapping:
            faults.append(f"{path}: {_show(value)} is not a mapping of keys to values")

    def take(self, key: str, convert: Callable[[object], T], *default: T) -> T:
        """One value, or the default."""
        self._asked.append(key)
        if key in self._values:
            return self._convert(self._at(key), convert, self._values[key])
        if not default and self._is_mapping:
            self._faults.append(f"{self._at(key)}: is missing")
        return default[0] if default else _nothing()

    def items(self, key: str, convert: Callable[[object], T], *default: T) -> tuple[T, ...]:
        """A list's values, or the default; where there is a default, an empty list is a fault."""
        values: list[object] = self.take(key, _filled_list if default else _list, list(default)) or []
        return tuple(self._convert(f"{self._at(key)}[{index}]", convert, value) for index, value in enumerate(values))

    def pairs(self, key: str, convert_key: Callable[[object], str], convert: Callable[[object], str]) -> dict[str, str]:
        section = self.section(key)
        return {self._convert(self._at(key), convert_key, name): self._convert(section._at(name), convert, value) for name, value in section._values.items()}

    def section(self, key: str) -> "_Section":
        self._asked.append(key)
        return _Section(self._values.get(key), self._at(key), self._faults)

    def sections(self, key: str) -> list["_Section"]:
        values: list[object] = self.take(key, _list, []) or []
        return [_Section(value, f"{self._at(key)}[{index}]", self._faults) for index, value in enumerate(values)]

    def close(self) -> None:
        """What nobody asked for is unknown."""
        for key in self._values:
            if key not in self._asked:
                from difflib import get_close_matches

                meant = get_close_matches(str(key), self._asked, 1)
                self._faults.append(f"{self._at(key)}: unknown key; {f'did you mean {meant[0]}?' if meant else 'known here: ' + ', '.join(self._asked)}")

    def _at(self, key: object) -> str:
        return _join(self._path, key)

    def _convert(self, path: str, convert: Callable[[object], T], value: object) -> T:
        try:
            return convert(value)
        except Usage as error:
            self._faults.append(f"{path}: {error.message}")
            nothing: T = _nothing()
            return nothing


def _join(path: str, key: object) -> str:
    name = key if isinstance(key, str) and key.isprintable() and 0 < len(key) <= 80 else _show(key)
    return f"{path}.{name}" if path else name


def _nothing() -> Any:
    """Stands for a value with a fault; `load` raises before anybody sees it."""
    return ""


def _text(check: Callable[[str], str]) -> Callable[[object], str]:
    def convert(value: object) -> str:
        if not isinstance(value, str):
            raise Usage(f"{_show(value)} is not text" + ("" if value is None or isinstance(value, (list, dict)) else "; put it in quotes if it is meant as text"))
        return check(value)

    return convert


def _optional(convert: Callable[[object], T]) -> Callable[[object], T | None]:
    return lambda value: None if value is None else convert(value)


def _list(value: object) -> list[object]:
    if value is not None and not isinstance(value, list):
        raise Usage(f"{_show(value)} is not a list")
    return value or []


def _filled_list(value: object) -> list[object]:
    if not _list(value):
        raise Usage("is empty")
    return _list(value)


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise Usage(f"{_show(value)} is neither true nor false")
    return value


def _positive_whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise Usage(f"{_show(value)} is not a positive whole number")
    return value


def _positive(value: object) -> float:
    # The upper bound keeps a number of seconds within what the system's clocks and time-outs can hold.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1e6 or not math.isfinite(value):
        raise Usage(f"{_show(value)} is not a positive number (of at most a million)")
    return float(value)


def _local_path(base: Path) -> Callable[[object], Path]:
    """For a path on this machine; one that is relative starts at the configuration file's directory."""

    def check(text: str) -> str:
        if not text or not text.isprintable() or re.search(r"[`$;|&<>]", text):
            raise Usage(f"{_show(text)} is not a path; a leading ~ is understood, variables and commands are not")
        if (expanded := os.path.expanduser(text)).startswith("~"):  # noqa: PTH111 (leaves an unknown user's ~ alone, where Path raises)
            raise Usage(f"{_show(text)}: there is no such home directory")
        return expanded

    return lambda value: base / _text(check)(value)


def _repeated(path: str, names: list[str], *, taken: tuple[str, ...] = ()) -> list[str]:
    return [f"{path}[{index}].name: {name} is the name of another one" for index, name in enumerate(names) if name and name in (*taken, *names[:index])]


def _show(value: object) -> str:
    """A value as the file has it, inert and short. What is nested is not shown: aliases can make it endless."""
    if isinstance(value, str):
        return repr(value if len(value) <= 80 else value[:79] + "…")
    if isinstance(value, (list, dict)):
        return "a list" if isinstance(value, list) else "a mapping"
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    # Python refuses to write out a number of more than a few thousand digits.
    return "a huge number" if isinstance(value, int) and abs(value) > 1 << 64 else str(value)[:80]


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise Usage(f"the configuration {path} cannot be read: {error.strerror}", next_step=f"ls -ld {path}") from error
    if len(content) > MAX_BYTES:
        raise Usage(f"the configuration {path} is larger than {MAX_BYTES} bytes; it is something else", next_step=f"ls -l {path}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Usage(f"the configuration {path} is not UTF-8 text (line {line})", next_step=f"file {path}") from error


def _parse(path: Path) -> tuple[object, list[str]]:
    """The file's one document, and its keys that are given twice."""
    text = _read(path)
    import yaml

    loader: Any = None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        faults = list(_duplicates(node, "", set()))
        value = loader.construct_document(node) if node is not None else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        tabs = "; YAML is indented with spaces, never with tabs" if "\\t" in str(error.problem) else ""
        words = "".join(character for character in str(error.problem or error.context) if character.isprintable())
        raise Usage(f"{path} is not YAML: {where}{words}{tabs}", next_step=f"correct it: {path}") from error
    except (yaml.YAMLError, ValueError, KeyError, TypeError, RecursionError) as error:
        # A date in month 13, `!!bool perhaps`, ten thousand brackets: the library lets such errors out bare.
        words = "it is nested too deep" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise Usage(f"{path} is not YAML of use here: {words}", next_step=f"correct it: {path}") from error
    finally:
        if loader is not None:
            loader.dispose()
    if value is None:
        raise Usage(f"the configuration {path} is empty", next_step=f"fill it: {path}; breakglass.example.yaml shows every key")
    if not isinstance(value, dict):
        raise Usage(f"the configuration {path} holds {_show(value)}, not a mapping of sections", next_step=f"correct it: {path}; breakglass.example.yaml shows every key")
    return value, faults


def _duplicates(node: Any, path: str, seen: set[int]) -> Iterator[str]:
    """Keys that stand twice in one mapping, of which YAML readers silently keep the last."""
    if node is None or node.id == "scalar" or id(node) in seen:
        return
    seen.add(id(node))
    if node.id == "sequence":
        for index, item in enumerate(node.value):
            yield from _duplicates(item, f"{path}[{index}]", seen)
        return
    lines: dict[str, int] = {}
    for key, item in node.value:
        name = str(key.value) if key.id == "scalar" else "?"
        inner = _join(path, name)
        if key.id == "scalar" and name in lines:
            yield f"{inner}: given twice, in line {lines[name]} and in line {key.start_mark.line + 1}"
        lines.setdefault(name, key.start_mark.line + 1)
        yield from _duplicates(item, inner, seen)
