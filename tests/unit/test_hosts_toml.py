"""hosts.toml: what is kept, and where the node's own line goes."""

import json
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from breakglass.commands.hosts_toml import Insertion, compose
from breakglass.commands.hosts_toml_reading import endpoints
from breakglass.errors import Refused
from breakglass.observe.answering import MARK
from tests.unit.hosts_toml_texts import (
    ADDRESS,
    OURS,
    REGISTRY,
    SERVER,
    composed,
    inserted,
    refused,
    site,
)
from tests.unit.strategies import examples

SETTINGS = {
    "ca": some.sampled_from(["ca.crt", "/etc/ca.crt", ["/etc/a.crt", "b.crt"]]),
    "client": some.sampled_from(
        [
            "/etc/both.pem",
            ["/etc/a.pem", "b.pem"],
            [["/etc/c.cert", "/etc/c.key"], ["d.cert", "d.key"]],
        ]
    ),
    "skip_verify": some.booleans(),
    "header": some.sampled_from(
        [{"x-one": "1"}, {"x-many": ["ä", 'quo"te', "back\\slash"], "X-Other": "\u2028"}]
    ),
    "capabilities": some.sampled_from([["pull"], ["pull", "resolve"], ["resolve", "push", "pull"]]),
    "override_path": some.booleans(),
}


HOSTS = [
    "https://mirror.example",
    "http://10.0.0.1:5000/v2/cache",
    "plain.example:5000",
    "https://[::1]:5000",
    "https://other.example/v2",
    SERVER,
]


# Any file of the usual form


def word(text: str, quote: str) -> str:
    return (
        f"'{text}'"
        if quote == "'" and "'" not in text and text.isprintable()
        else json.dumps(text, ensure_ascii=False)
    )


def value(given: Any, quote: str) -> str:
    if isinstance(given, str):
        return word(given, quote)
    if isinstance(given, list):
        return f"[ {', '.join(value(each, quote) for each in given)} ]"
    if isinstance(given, dict):
        return (
            "{"
            + ", ".join(f"{word(key, quote)} = {value(each, quote)}" for key, each in given.items())
            + "}"
        )
    return json.dumps(given)


@some.composite
def files(draw: Any) -> str:
    """Text of a hosts.toml: settings of the server, hosts in any order, comments and blank lines
    anywhere, either kind of quote and of line end.
    """
    quote = draw(some.sampled_from(["'", '"']))
    spare = some.lists(
        some.sampled_from(
            ["", "# a comment", '  # [host."https://commented.example"]', "#\u2028 ä", "\t"]
        ),
        max_size=2,
    )

    def some_settings(indent: str) -> list[str]:
        chosen = draw(some.lists(some.sampled_from(sorted(SETTINGS)), unique=True, max_size=4))
        return [
            line
            for name in chosen
            for line in (*draw(spare), f"{indent}{name} = {value(draw(SETTINGS[name]), quote)}")
        ]

    lines = [*draw(spare)]
    server = draw(
        some.sampled_from([None, SERVER, "https://registry.example/v2", REGISTRY, f"{SERVER}/"])
    )
    if server is not None:
        lines += [f"server = {word(server, quote)}", *draw(spare)]
    lines += some_settings("")
    for host in draw(some.lists(some.sampled_from(HOSTS), unique=True, max_size=4)):
        lines += [
            *draw(spare),
            draw(
                some.sampled_from(
                    ["[host.%s]", "  [ host . %s ]  # here", "['host'.%s]", '["host".%s]']
                )
            )
            % word(host, quote),
            *some_settings("  "),
        ]
        if draw(some.booleans()) and not any(line.lstrip().startswith("header") for line in lines):
            lines += [f"  [host.{word(host, quote)}.header]", "    x-table = 'yes'"]
    end: str = draw(some.sampled_from(["\n", "\r\n"]))
    final: str = draw(some.sampled_from(["", end]))
    return end.join([*lines, *draw(spare)]) + final


def same(url: str) -> str:
    """What makes two addresses one host."""
    return (url if url.startswith("http") else f"https://{url}").rstrip("/").lower()


def made_of(text: str, *, first: bool) -> Insertion | None:
    """None: it is refused, and that exactly where the server's own header, which may be a secret,
    would have to be repeated.
    """
    before = tomllib.loads(text)
    is_listed = same(before.get("server", SERVER)) in map(same, before.get("host", {}))
    if "header" in before and not first and not is_listed:
        assert "`header` would have to be repeated" in refused(text)
        return None
    return compose(site(text), text, address=ADDRESS, first=first)


@examples(400)
@given(text=files(), first=some.booleans())
def test_whatever_a_hosts_toml_says_is_kept_and_the_node_comes_last_or_first(
    text: str, first: bool
) -> None:
    before = tomllib.loads(text)
    insertion = made_of(text, first=first)
    if insertion is None:
        return
    after = tomllib.loads(insertion.text)
    assert insertion.base == text
    assert inserted(insertion) == insertion.text
    assert any(line.startswith(MARK) for line in insertion.lines)
    assert not any(
        word in line
        for line in insertion.lines
        for word in ("header", "x-one", "x-many", "x-table", "comment", "mirror.example")
    ), "they travel in a command line"
    others = [host for host in after["host"] if host != ADDRESS]
    assert list(after["host"]) == ([ADDRESS, *others] if first else [*others, ADDRESS])
    assert others[: len(before.get("host", {}))] == list(before.get("host", {}))
    assert {
        url: its for url, its in after["host"].items() if url in before.get("host", {})
    } == before.get("host", {})
    assert after["host"][ADDRESS] == OURS
    if text.strip():
        assert {key: its for key, its in after.items() if key != "host"} == {
            key: its for key, its in before.items() if key != "host"
        }


@examples(200)
@given(text=files())
def test_behind_a_registry_the_node_is_asked_only_after_the_registry_itself(text: str) -> None:
    """As endpoints() tells it, which is containerd's order."""
    asked = [each["url"] for each in endpoints(site(text), text)]
    insertion = made_of(text, first=False)
    if insertion is None:
        return
    made = insertion.text
    again = [each["url"] for each in endpoints(site(made), made)]
    assert [url.rstrip("/").lower() for url in again if url != ADDRESS] == [
        url.rstrip("/").lower() for url in asked
    ]
    assert again[-1] == ADDRESS or [url.rstrip("/") for url in again].index(ADDRESS) > 0
    settings_of = {each["url"]: each for each in endpoints(site(text), text)}
    for each in endpoints(site(made), made):
        if each["url"] in settings_of:
            assert each == settings_of[each["url"]]


def test_the_file_of_a_registry_that_has_none_is_ours_to_the_last_line() -> None:
    insertion = compose(site(), None, address=ADDRESS, first=False)
    assert (insertion.before, insertion.text, insertion.base) == ("end", inserted(insertion), None)
    assert insertion.lines[0].startswith(MARK)
    assert tomllib.loads(insertion.text) == {
        "server": SERVER,
        "host": {SERVER: OURS, ADDRESS: OURS},
    }
    assert list(tomllib.loads(insertion.text)["host"]) == [SERVER, ADDRESS]


def test_where_a_registry_has_a_broken_image_the_file_names_the_node_first() -> None:
    assert composed(None, first=True) == {"server": SERVER, "host": {ADDRESS: OURS}}


def test_certificates_that_lie_beside_no_hosts_toml_are_named_in_ours() -> None:
    where: dict[str, Any] = {
        "ca": ("/certs/ca.crt",),
        "client": (("/certs/a.cert", "/certs/a.key"),),
    }
    tls = {"ca": ["/certs/ca.crt"], "client": [["/certs/a.cert", "/certs/a.key"]]}
    for text in (None, ""):
        made = composed(text, **where)
        assert made == {"server": SERVER, **tls, "host": {SERVER: {**OURS, **tls}, ADDRESS: OURS}}
        assert composed(text, first=True, **where) == {
            "server": SERVER,
            **tls,
            "host": {ADDRESS: OURS},
        }


def test_a_file_with_only_a_server_gets_the_server_as_a_host_with_its_settings() -> None:
    text = (
        'server = "https://registry.example"\nca = "ca.crt"\nskip_verify = true\nclient = '
        '[["a.cert", "a.key"]]\noverride_path = true\n'
    )
    made = composed(text)
    its = {
        "ca": "ca.crt",
        "skip_verify": True,
        "client": [["a.cert", "a.key"]],
        "override_path": True,
    }
    assert made["host"] == {"https://registry.example": {**OURS, **its}, ADDRESS: OURS}
    assert {key: its for key, its in made.items() if key != "host"} == tomllib.loads(text)


@pytest.mark.parametrize(
    "header",
    [
        'header = { x-token = "s3cret" }\n',
        '[header]\n  x-token = ["s3cret", "b"]\n',
        "header = {}\n",
    ],
)
@pytest.mark.parametrize("mirror", ["", '[host."https://mirror.example"]\n'])
def test_a_header_of_the_server_is_never_repeated_and_the_refusal_says_what_to_list(
    header: str, mirror: str
) -> None:
    text = f'server = "https://registry.example"\n{header}{mirror}'
    reported = refused(text)
    assert "may hold a secret" in reported
    assert '[host."https://registry.example"]' in reported
    assert "s3cret" not in reported


def test_a_login_in_the_servers_address_is_never_repeated_nor_reported() -> None:
    reported = refused('server = "https://ci:s3cret@registry.example"\n')
    assert "login" in reported
    assert "s3cret" not in reported


def test_a_header_of_the_server_is_no_hindrance_where_the_server_needs_no_line_of_ours() -> None:
    text = f'server = "{SERVER}"\nheader = {{ x-token = "s3cret" }}\n'
    listed = f'{text}[host."{SERVER}"]\n  header = {{ x-token = "s3cret" }}\n'
    for first, content, hosts in (
        (True, text, [ADDRESS]),
        (False, listed, [SERVER, ADDRESS]),
        (True, listed, [ADDRESS, SERVER]),
    ):
        insertion = compose(site(content), content, address=ADDRESS, first=first)
        assert list(tomllib.loads(insertion.text)["host"]) == hosts
        assert "s3cret" not in "".join(insertion.lines)


def test_a_server_that_may_do_less_may_do_no_more_as_a_host() -> None:
    made = composed('server = "https://registry.example"\ncapabilities = ["resolve"]\n')
    assert made["host"]["https://registry.example"] == {"capabilities": ["resolve"]}


@pytest.mark.parametrize(
    "listed",
    [
        SERVER,
        REGISTRY,
        f"{SERVER}/",
        f"HTTPS://{REGISTRY}".replace("HTTPS", "https").replace("registry", "Registry"),
    ],
)
def test_a_registry_that_is_listed_already_is_not_listed_twice(listed: str) -> None:
    made = composed(f'server = "{SERVER}"\n[host."https://mirror.example"]\n[host."{listed}"]\n')
    assert list(made["host"]) == ["https://mirror.example", listed, ADDRESS]


@pytest.mark.parametrize(
    "text", ['server = ""\n', 'server = ""\n[host."https://mirror.example"]\n']
)
def test_an_empty_server_is_the_registry_itself_as_it_is_for_containerd(text: str) -> None:
    assert list(composed(text)["host"])[-2:] == [SERVER, ADDRESS]
    assert [each["url"] for each in endpoints(site(text), text)][-1] == SERVER


def test_lines_that_come_first_go_between_the_server_settings_and_the_first_host() -> None:
    text = (
        f'server = "{SERVER}"\n# [host."https://not.example"]\nca = "/ca"\n\n  [ host . '
        f'"https://mirror.example" ]\n'
    )
    insertion = compose(site(text), text, address=ADDRESS, first=True)
    assert insertion.before == "5"
    assert list(tomllib.loads(insertion.text)["host"]) == [ADDRESS, "https://mirror.example"]


def test_a_host_inside_of_a_text_of_several_lines_is_no_place_for_ours() -> None:
    text = (
        f'server = "{SERVER}"\nca = '
        f'"""\n[host."https://no.example"]\n"""\n[host."https://mirror.example"]\n'
    )
    assert "without changing what it says" in refused(text, first=True)
    assert list(composed(text)["host"]) == ["https://mirror.example", SERVER, ADDRESS]


# Shared and default files


def test_a_file_that_is_reached_over_a_link_has_to_name_its_server() -> None:
    assert f'put a line into it: server = "{SERVER}"' in refused(
        '[host."https://mirror.example"]\n', linked=True
    )
    assert "names no server" in refused(None, linked=True)
    assert list(composed('server = "https://upstream.example"\n', linked=True)["host"]) == [
        "https://upstream.example",
        ADDRESS,
    ]


def test_what_a_registry_has_from_default_is_copied_into_its_own_file_whole() -> None:
    default = (
        '# ours\nserver = "https://upstream.example"\n[host."https://mirror.example"]\n  ca = '
        '"/etc/ca.crt"'
    )
    where = site(None, default=default)
    for first, hosts in (
        (False, ["https://mirror.example", "https://upstream.example", ADDRESS]),
        (True, [ADDRESS, "https://mirror.example"]),
    ):
        insertion = compose(where, None, address=ADDRESS, first=first)
        assert inserted(insertion) == insertion.text
        assert insertion.base == default
        assert insertion.text.startswith("# ours\n")
        assert "# ours" not in insertion.lines
        assert "mirror.example" not in "".join(insertion.lines), (
            "the copy is made on the node: none of its text travels"
        )
        made = tomllib.loads(insertion.text)
        assert list(made["host"]) == hosts
        assert made["host"]["https://mirror.example"] == {"ca": "/etc/ca.crt"}


def test_a_default_without_a_server_stands_for_the_registry_that_asks() -> None:
    assert list(composed(None, default='[host."https://mirror.example"]\n')["host"]) == [
        "https://mirror.example",
        SERVER,
        ADDRESS,
    ]


@pytest.mark.parametrize(
    "default",
    [
        'ca = "ca.crt"\n',
        'client = ["a.pem"]\n',
        '[host."https://m.example"]\nca = ["/a", "b"]\n',
        '[host."https://m.example"]\nclient = [["/a.cert", "a.key"]]\n',
    ],
)
def test_a_default_that_names_certificates_by_relative_paths_is_not_copied(default: str) -> None:
    assert "relative paths" in refused(None, default=default)


def test_a_default_hosts_toml_that_now_has_relative_paths_does_not_replace_our_file() -> None:
    where = site(f"{MARK}\n", default='ca = "ca.crt"\n')
    with pytest.raises(Refused, match="relative paths"):
        compose(where, None, address=ADDRESS, first=False)
