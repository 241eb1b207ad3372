"""Every grammar of what a person names: against the specifications' own expressions, and against
texts that mean harm.
"""

import ipaddress
import operator
import re
import string
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from breakglass import grammar
from breakglass.config import Image
from breakglass.errors import BreakglassError, Refused, Usage
from breakglass.observe.listing import tag_of
from breakglass.plan import Host
from tests.unit.strategies import HOSTILE, examples, mangled

# OCI distribution specification 1.1, "Pulling manifests".
TAG = r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}"
PATH = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*"
# github.com/distribution/reference, reference.go: what docker and containerd read.
LABEL = r"([a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
DOMAIN = rf"({LABEL}(\.{LABEL})*|\[[a-fA-F0-9:]+\])(:[0-9]+)?"
# RFC 1123 subdomain as Kubernetes has it: k8s.io/apimachinery, validation.go.
SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
ADDRESSES = some.ip_addresses().map(str)
LOWER, WORD = string.ascii_lowercase + string.digits, string.ascii_letters + string.digits
LABELS = some.sampled_from(["a", "Z9", "0", "x-y", "a--b", "b" * 63])
HOSTS = some.sampled_from(
    ["localhost", "k8s-node1", "registry.viktorbarzin.me", "10.0.20.10", "[::1]", "[fe80::1:2]"]
) | some.lists(LABELS, min_size=1, max_size=3).map(".".join)
PORTS = some.sampled_from(["", ":1", ":22", ":5050", ":65535"])
REGISTRIES = (some.builds("{}{}".format, HOSTS, PORTS)).filter(
    lambda text: re.search(r"[.:]|^localhost$", text)
)
PARTS = some.sampled_from(
    ["a", "infra-ci", "0", "a.b", "a_b", "a__b", "a---b", "x1.y2_z3-w4"]
) | some.text(LOWER, min_size=1, max_size=20)
PATHS = some.lists(PARTS, min_size=1, max_size=5).map("/".join)
TAGS = some.builds(
    operator.add, some.sampled_from(WORD + "_"), some.text(WORD + "._-", max_size=127)
)
REPOSITORIES = some.builds("{}/{}".format, REGISTRIES, PATHS).filter(lambda text: len(text) <= 255)
REFERENCES = some.builds("{}:{}".format, REPOSITORIES, TAGS)
USERS = some.builds(
    operator.add, some.sampled_from(WORD + "_"), some.text(WORD + "._-", max_size=63)
)


def is_reference(text: str) -> bool:
    """Whether docker and containerd read it as REGISTRY/PATH:TAG."""
    return (
        re.fullmatch(rf"{DOMAIN}/{PATH}:{TAG}", text) is not None
        and len(text.rpartition(":")[0]) <= 255
    )


def is_node_name(text: str) -> bool:
    return is_address(text) or (
        re.fullmatch(SUBDOMAIN, text) is not None
        and len(text) <= 253
        and all(len(label) <= 63 for label in text.split("."))
    )


def is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def is_destination(text: str) -> bool:
    """`[user@]host[:port]`: what ssh would get is a login name, a host and a port, and nothing that
    is an option.
    """
    user, at, rest = text.rpartition("@")
    if at and not re.fullmatch("[A-Za-z0-9_][A-Za-z0-9._-]*", user):
        return False
    if is_address(rest):
        return True
    host, colon, port = rest.rpartition(":") if re.search(r":[^\]]*\Z", rest) else (rest, "", "")
    if colon and not (port.isdecimal() and port.isascii() and 0 < int(port) < 65536):
        return False
    return re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?", host) is not None or (
        host[:1] + host[-1:] == "[]" and is_address(host[1:-1])
    )


@dataclass(frozen=True)
class Grammar:
    check: Callable[[str], str]
    good: some.SearchStrategy[str]
    """All of these are to be accepted."""
    is_good: Callable[[str], bool]
    """The oracle: nothing else may be accepted."""
    is_word: bool = True
    """Whether it is one word of a command line without quotes."""


def whole(expression: str) -> Callable[[str], bool]:
    return lambda text: re.fullmatch(expression, text) is not None


GRAMMARS = {
    "tag": Grammar(grammar.check_tag, TAGS, whole(TAG)),
    "tag of a snapshot": Grammar(
        grammar.check_snapshot_tag,
        TAGS.filter(lambda text: text != "latest"),
        lambda text: whole(TAG)(text) and text != "latest",
    ),
    "repository without its registry": Grammar(grammar.check_repository_path, PATHS, whole(PATH)),
    "repository": Grammar(
        grammar.check_repository, REPOSITORIES, lambda text: is_reference(text + ":x")
    ),
    "reference": Grammar(grammar.check_reference, REFERENCES, is_reference),
    "node": Grammar(
        grammar.check_node_name,
        some.lists(LABELS.map(str.lower), min_size=1, max_size=3).map(".".join) | ADDRESSES,
        is_node_name,
    ),
    "user": Grammar(grammar.check_user, USERS, whole("[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")),
    "destination": Grammar(
        grammar.check_destination,
        some.builds("{}{}{}".format, some.just("") | USERS.map("{}@".format), HOSTS, PORTS)
        | ADDRESSES
        | some.builds("{}@{}".format, USERS, ADDRESSES),
        is_destination,
    ),
    "path": Grammar(
        grammar.check_path,
        some.lists(TAGS, min_size=1, max_size=5).map(lambda parts: "/" + "/".join(parts)),
        lambda text: (
            text.startswith("/")
            and not text.endswith("/")
            and not {"", ".", ".."} & set(text[1:].split("/"))
        ),
        is_word=False,
    ),
    "name for files": Grammar(
        grammar.check_file_name,
        some.builds(operator.add, some.sampled_from(LOWER), some.text(LOWER + "._-", max_size=99)),
        whole("[a-z0-9][a-z0-9._-]{0,99}"),
    ),
    "source": Grammar(
        grammar.check_source,
        some.builds(operator.add, some.sampled_from(WORD), some.text(WORD + "._-", max_size=62)),
        whole("[A-Za-z0-9][A-Za-z0-9._-]{0,62}"),
    ),
    "namespace": Grammar(
        grammar.check_namespace,
        some.sampled_from(["k8s.io", "default", "a_b-c.d"]),
        whole("[A-Za-z0-9]+([._-]+[A-Za-z0-9]+)*"),
    ),
    "platform": Grammar(
        grammar.check_platform,
        some.sampled_from(["linux/amd64", "linux/arm/v7", "windows/x86_64"]),
        whole("[a-z0-9]+/[a-z0-9_]+(/[a-z0-9_.]+)?"),
    ),
    "word of a command": Grammar(
        grammar.check_word,
        some.sampled_from(["ctr", "/usr/local/bin/k3s", "--address=/run/containerd.sock"]),
        whole("[A-Za-z0-9._:/=@+-]+"),
    ),
    "registry's address": Grammar(
        grammar.check_url,
        some.builds("{}://{}{}".format, some.sampled_from(["http", "https"]), HOSTS, PORTS),
        lambda text: re.fullmatch(rf"https?://({DOMAIN}|[\w.-]+(:\d+)?)/?", text, re.A) is not None,
    ),
}
MAY_BE_OPTIONS = ("word of a command",)
"""The configuration's own command line may have options."""
SHELL = set(";&|<>$`\\\"'*?~#!(){}%^\n\r\t\0")
each = pytest.mark.parametrize("kind", GRAMMARS)


@each
@examples(8)
@given(data=some.data())
def test_what_the_specification_allows_is_accepted_as_it_is_and_nothing_can_be_hung_onto_it(
    kind: str, data: some.DataObject
) -> None:
    text = data.draw(GRAMMARS[kind].good)
    assert GRAMMARS[kind].check(text) == text
    for hostile in (
        "\n",
        "\r",
        "\0",
        "\x1b",
        "\u2028",
        ";id",
        "$(id)",
        "`id`",
        "\n-rf",
        "'",
        *([] if kind == "path" else [" "]),
    ):
        assert_is_refused(kind, text + hostile)
        assert_is_refused(kind, hostile + text)


@each
@examples(25)
@given(data=some.data())
def test_what_is_accepted_is_allowed_and_cannot_be_anything_but_an_argument(
    kind: str, data: some.DataObject
) -> None:
    what = GRAMMARS[kind]
    text = data.draw(mangled(what.good) | mangled(mangled(what.good)) | some.text(max_size=9))
    try:
        accepted = what.check(text)
    except Usage as error:
        assert_is_reported(error)
        return
    assert what.is_good(accepted)
    assert accepted.isprintable()
    assert not SHELL & set(accepted)
    assert kind in MAY_BE_OPTIONS or not accepted.startswith("-")
    assert not what.is_word or re.fullmatch(r"[A-Za-z0-9._:/@=+\[\]-]+", accepted)


@each
def test_what_means_harm_is_refused_in_one_printable_line(kind: str) -> None:
    for hostile in HOSTILE:
        if kind not in MAY_BE_OPTIONS or not re.fullmatch("[A-Za-z./=-]+", hostile):
            assert_is_refused(kind, hostile)


@examples(30)
@given(
    some.sampled_from(["{tag}", "v{tag}", "{tag}-amd64", "latest"]),
    REPOSITORIES,
    TAGS | some.just("t" * 128),
)
def test_a_template_that_is_accepted_makes_a_reference_of_every_tag_that_leaves_it_room(
    template: str, repository: str, tag: str
) -> None:
    accepted = grammar.check_template(f"{repository}:{template}")
    try:
        names = Image(repository, "image", (accepted,)).names(tag)
    except Refused as error:
        assert len(template.replace("{tag}", tag)) > 128
        assert_is_reported(error, exit_code=3)
        return
    assert all(map(is_reference, names))


@examples(30)
@example("_0.example/x:{tag}")
@example("a..b/x:{tag}")
@example("a.b-/x:{tag}")
@given(mangled(REFERENCES.map(lambda text: text + "{tag}")))
def test_what_is_no_template_is_refused(text: str) -> None:
    try:
        accepted = grammar.check_template(text)
    except Usage as error:
        assert_is_reported(error)
        return
    assert is_reference(accepted.replace("{tag}", "x"))


@examples(30)
@given(GRAMMARS["name for files"].good, TAGS)
def test_a_tag_is_read_back_from_the_name_of_its_file(name: str, tag: str) -> None:
    file = Image("r.example/x", name).tarball(tag)
    assert tag_of(file, name) == tag
    assert re.fullmatch("[A-Za-z0-9._-]+", file)
    assert not file.startswith((".", "-"))


@examples(30)
@given(mangled(GRAMMARS["destination"].good))
def test_what_the_ssh_client_is_given_is_a_port_and_one_destination(text: str) -> None:
    try:
        login = Host("x", grammar.check_destination(text)).login
    except Usage:
        return
    *port, destination = login
    assert not destination.startswith("-")
    assert port == [] or (port[0] == "-p" and len(port) == 2 and 0 < int(port[1]) < 65536)
    assert destination.rpartition("@")[0] == text.rpartition("@")[0]
    host = destination.rpartition("@")[2]
    assert host in text
    assert is_address(host) or ":" not in host


def assert_is_refused(kind: str, text: str) -> None:
    with pytest.raises(Usage) as refused:
        GRAMMARS[kind].check(text)
    assert_is_reported(refused.value)


def assert_is_reported(error: BreakglassError, *, exit_code: int = 2) -> None:
    assert error.exit_code == exit_code
    for sentence in (error.message, *error.next_step.lines):
        assert sentence
        assert sentence.isprintable(), repr(sentence)
        assert len(sentence) < 400
