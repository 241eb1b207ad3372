"""The grammar of every name that a person types, in the configuration or on the command line. Each
`check_` function returns the text, or raises Usage.

Over 250 lines, for it is one list of short checks that do not depend on each other: who asks
what a name may look like finds it here.
"""

import functools
import ipaddress
import posixpath
import re
from collections.abc import Callable

from breakglass.errors import Usage, then

LONGEST_TARBALL_NAME = 219


def _suggests(advice: str) -> Callable[[Callable[[str], str]], Callable[[str], str]]:
    """Set the next step of the Usage that a check raises. If one check calls another, the outer
    check's suggestion counts.
    """

    def decorate(check: Callable[[str], str]) -> Callable[[str], str]:
        @functools.wraps(check)
        def suggesting(text: str) -> str:
            try:
                return check(text)
            except Usage as error:
                raise error.replaced(next_step=then(advice=advice)) from error.__cause__

        return suggesting

    return decorate


@_suggests("give a tag such as 0a1b2c3d")
def check_tag(text: str) -> str:
    """A tag: OCI distribution specification, *Pulling manifests*."""
    return _match(
        text,
        r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}",
        "tag",
        "a letter, a digit or _, then up to 127 letters, digits, dots, _ or -",
    )


def check_snapshot_tag(text: str) -> str:
    """A tag for a tarball. It is not `latest`, which is the name of the link."""
    if text == "latest":
        raise Usage(
            "latest is the name of the link to the newest tarball, "
            "so no tarball can be called that",
            next_step=then(
                "breakglass snapshot --help", advice="give --tag TAG, with the tag of a build"
            ),
        )
    return check_tarball_tag(text)


def check_tarball_tag(text: str) -> str:
    """A tag that a tarball can have, or `latest`, which is the link: NAME-foo-latest.tar.gz would
    be the link of an image that is called NAME-foo.
    """
    if text.endswith("-latest"):
        raise Usage(
            f"no tarball can have a tag that ends in -latest: {show(text)} is taken for the name "
            f"of a link",
            next_step=then(advice="give a tag such as 0a1b2c3d, without -latest at its end"),
        )
    return check_tag(text)


def check_tarball_name(file: str) -> str:
    """NAME-TAG.tar.gz. Hidden files have a longer name, and file systems take 255 bytes."""
    if len(file) > LONGEST_TARBALL_NAME:
        raise Usage(
            f"{show(file)} would have a name of {len(file)} characters, at most "
            f"{LONGEST_TARBALL_NAME} are possible",
            next_step=then(advice="give a shorter --tag, or a shorter image.name"),
        )
    return file


@_suggests("give it in full, such as docker.io/library/debian:12")
def check_reference(text: str) -> str:
    """A full reference: REGISTRY/REPOSITORY:TAG, without a digest."""
    # A digest would not identify the image in a tarball: `docker save` changes it.
    repository, colon, tag = text.rpartition(":")
    if not colon or "/" in tag or "@" in text:
        raise Usage(
            f"{show(text)} is not a full reference: REGISTRY/REPOSITORY:TAG, without a digest"
        )
    check_tag(tag)
    check_repository(repository)
    return text


def full_reference(image: str) -> str:
    """The name that containerd uses for an image of a pod. A registry, `library/` and tag that are
    left out are added; the tag beside a digest is dropped.
    """
    repository, at, digest = image.partition("@")
    path, slash, last = repository.rpartition("/")
    last, _, tag = last.partition(":")
    repository = path + slash + last
    host, slash, rest = repository.partition("/")
    if not (slash and _is_registry(host)):
        host, rest = "docker.io", repository
    elif host == "index.docker.io":
        host = "docker.io"
    if host == "docker.io" and "/" not in rest:
        rest = f"library/{rest}"
    if at:
        return f"{host}/{rest}@{digest}"
    return f"{host}/{rest}:{tag or 'latest'}"


@_suggests("give it with its registry, such as docker.io/library/debian")
def check_repository(text: str) -> str:
    """A repository after its registry: REGISTRY/PATH."""
    host, slash, path = text.partition("/")
    if not (slash and _is_registry(host)):
        raise Usage(
            f"{show(text)} does not name its registry: REGISTRY/REPOSITORY, "
            f"docker.io/library/debian say"
        )
    _check_host_port(host, text)
    # Stricter than _check_host_port, which also accepts aliases of the SSH configuration.
    label = "[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
    registry = rf"(?:{label}(?:\.{label})*|\[[0-9A-Fa-f:]+\])(?::[0-9]+)?"
    if len(text) > 255 or not re.fullmatch(registry, host):
        raise Usage(
            f"{show(text)} names no registry that docker knows: labels of letters, digits "
            f"and -, joined by dots, 255 characters with the repository"
        )
    check_repository_path(path)
    return text


@_suggests("give a node's name such as k8s-node1, or its IP address")
def check_node_name(text: str) -> str:
    """A Kubernetes node's name (RFC 1123 subdomain) or an IP address."""
    if _is_address(text):
        return text
    label = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
    return _match(
        text,
        rf"(?=.{{1,253}}\Z){label}(?:\.{label})*",
        "node's name",
        "lower-case letters, digits, - and dots, or an IP address",
    )


@_suggests("give a host such as root@10.0.20.10, or a Host of ~/.ssh/config")
def check_destination(text: str) -> str:
    """An SSH destination: `[user@]host[:port]`. The host may be an alias of the SSH configuration;
    an IPv6 address with a port is in brackets.
    """
    user, at, rest = text.rpartition("@")
    if at:
        check_user(user)
    if not _is_address(rest):
        _check_host_port(rest, text)
    return text


@_suggests("give a login name such as root")
def check_user(text: str) -> str:
    """A login name."""
    return _match(
        text, r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}", "login name", "letters, digits, dots, _ and -"
    )


@_suggests("give a path such as /var/breakglass")
def check_path(text: str) -> str:
    """An absolute, normalized path on another host."""
    is_absolute = text.startswith("/") and not text.startswith("//")
    if not is_absolute or text == "/" or posixpath.normpath(text) != text:
        raise Usage(
            f"{show(text)} is not an absolute path without '.', '..', doubled or trailing slashes"
        )
    if not all(character.isalnum() or character in "/._-+,:=@ " for character in text):
        raise Usage(f"{show(text)} is not a path of letters, digits, spaces and / . _ - + , : = @")
    return text


@_suggests("give a name such as infra-ci")
def check_file_name(text: str) -> str:
    """The image's name in file names."""
    return _match(
        text,
        r"[a-z0-9][a-z0-9._-]{0,99}",
        "name for files",
        "a lower-case letter or digit, then those, dots, _ or -, at most 100",
    )


@_suggests("give a name such as synology")
def check_source(text: str) -> str:
    """The name of a source or of a registry, as `--from` takes it."""
    return _match(
        text,
        r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}",
        "name",
        "a letter or digit, then those, dots, _ or -, at most 63",
    )


@_suggests("give it in full, such as docker.io/library/debian:{tag}")
def check_template(text: str) -> str:
    """A reference whose tag may contain `{tag}`, a placeholder for the tarball's tag."""
    repository, _, tag = text.rpartition(":")
    if "{" in repository or re.search("[{}]", tag.replace("{tag}", "")):
        raise Usage(
            f"{show(text)} has a placeholder that is not {{tag}}, or one that is not in the tag"
        )
    check_reference(text.replace("{tag}", "x"))
    return text


@_suggests("give it without its registry, such as library/debian")
def check_repository_path(text: str) -> str:
    """A repository without its registry."""
    part = "[a-z0-9]+(?:(?:[.]|__?|-+)[a-z0-9]+)*"
    return _match(
        text,
        rf"(?=.{{1,255}}\Z){part}(?:/{part})*",
        "repository",
        "lower-case letters and digits, joined by dots, _ or -, in parts joined by /",
    )


@_suggests("give only scheme and host, such as https://registry.example:5050")
def check_url(text: str) -> str:
    """A registry's address; returned without a slash at the end."""
    scheme, separator, host = text.partition("://")
    if scheme not in ("http", "https") or not separator:
        raise Usage(f"{show(text)} is not https://HOST[:PORT] (or http://, where that is meant)")
    if "@" in host:
        # The text is not shown: before the @ there may be a password.
        raise Usage(
            "it holds a login; logins belong into $REGISTRY_AUTH_FILE or ~/.docker/config.json"
        )
    return f"{scheme}://{_check_host_port(host.removesuffix('/'), text)}"


@_suggests("give a namespace such as k8s.io")
def check_namespace(text: str) -> str:
    """A namespace of containerd."""
    return _match(
        text,
        r"(?=.{1,76}\Z)[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*",
        "containerd namespace",
        "letters and digits, joined by dots, _ or -",
    )


@_suggests("give a program such as ctr")
def check_program(text: str) -> str:
    """The first word of a command line."""
    # No `-` at the start and no `=`: sudo would read an option or a variable.
    return _match(
        text,
        r"[A-Za-z0-9/_][A-Za-z0-9._:/@+-]*",
        "name of a program",
        "letters, digits and . _ : / @ + -, none of . : @ + - as the first",
    )


@_suggests("give a word such as ctr")
def check_word(text: str) -> str:
    """One word of a command line that needs no quotes."""
    return _match(
        text,
        r"[A-Za-z0-9/_-][A-Za-z0-9._:/=@+-]*",
        "word of a command",
        "letters, digits and . _ : / = @ + -",
    )


@_suggests("give it as linux/amd64 or linux/arm64")
def check_platform(text: str) -> str:
    """A platform: OS/ARCHITECTURE, and perhaps /VARIANT."""
    return _match(
        text,
        r"[a-z0-9]+/[a-z0-9_]+(?:/[a-z0-9_.]+)?",
        "platform",
        "OS/ARCHITECTURE, such as linux/amd64",
    )


@_suggests("kubectl config get-contexts lists the names that there are")
def check_context(text: str) -> str:
    """The name of a context of a kubeconfig."""
    return _match(
        text,
        r"[A-Za-z0-9_][A-Za-z0-9._:/@+ -]*",
        "context",
        "letters, digits, spaces and . _ : / @ + -",
    )


@_suggests("give a key such as node-role.kubernetes.io/control-plane")
def check_label_key(text: str) -> str:
    """The key of a label or taint: Kubernetes documentation, *Labels and Selectors*."""
    part = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
    prefix = rf"(?:(?=[^/]{{1,253}}/){part}(?:[.]{part})*/)?"
    return _match(
        text,
        prefix + r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?",
        "key of a label or taint",
        "letters, digits, dots, _ and -, at most 63, after an optional PREFIX/",
    )


@_suggests("give a value such as ci")
def check_label_value(text: str) -> str:
    """The value of a label; it may be empty."""
    return _match(
        text,
        r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?",
        "value of a label",
        "letters, digits, dots, _ and -, at most 63",
    )


def _is_registry(host: str) -> bool:
    """Whether the first part of an image's name is a registry, by docker's rule."""
    return host == "localhost" or "." in host or ":" in host


def _check_host_port(text: str, whole: str) -> str:
    name = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?"
    address = r"\[(?P<address>[0-9A-Fa-f:.]+)\]"
    matched = re.fullmatch(rf"(?:{name}|{address})(?::(?P<port>[0-9]{{1,5}}))?", text)
    if matched is None or (matched["address"] and not _is_address(matched["address"])):
        raise Usage(
            f"{show(whole)} names no host: HOST or HOST:PORT is wanted there, with an IPv6 "
            f"address in brackets"
        )
    if matched["port"] is not None and not 0 < int(matched["port"]) < 65536:
        raise Usage(f"{show(whole)} names no port between 1 and 65535")
    return text


def _is_address(text: str) -> bool:
    # ipaddress accepts any text after a `%`, so the characters are checked first.
    if not re.fullmatch("[0-9A-Fa-f:.]+", text):
        return False
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _match(text: str, grammar: str, noun: str, wanted: str) -> str:
    if len(text) > 1024 or not re.fullmatch(grammar, text, re.ASCII):
        raise Usage(f"{show(text)} is not a {noun}: {wanted}")
    return text


def show(value: object) -> str:
    """A value of the configuration for a message: in one short line, without control characters."""
    if isinstance(value, str):
        return repr(value if len(value) <= 80 else value[:79] + "…")
    # Lists and mappings are not printed: aliases of YAML can make them endless.
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "a mapping"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    # Python refuses to print a number of more than a few thousand digits.
    if isinstance(value, int) and abs(value) > 1 << 64:
        return "a huge number"
    return str(value)[:80]
