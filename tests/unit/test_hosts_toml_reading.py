"""hosts.toml: who is asked by it, as containerd reads it."""

import tomllib

import pytest

from breakglass.commands.hosts_toml import compose
from breakglass.commands.hosts_toml_reading import default_server, endpoints, lists, registry_of
from breakglass.errors import Refused
from tests.unit.hosts_toml_texts import ADDRESS, CERTS, REGISTRY, SERVER, site

# Which server


@pytest.mark.parametrize(
    ("registry", "server"),
    [
        ("registry.example", "https://registry.example"),
        ("registry.example:5050", "https://registry.example:5050"),
        ("docker.io", "https://registry-1.docker.io"),
        ("localhost", "https://localhost"),
        ("localhost:5000", "http://localhost:5000"),
        ("localhost:443", "https://localhost:443"),
        ("127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("127.1.2.3:80", "http://127.1.2.3:80"),
        ("127.0.0.1:443", "https://127.0.0.1:443"),
        ("127.0.0.1", "https://127.0.0.1"),
        ("[::1]:5000", "http://[::1]:5000"),
        ("[::1]", "https://[::1]"),
        ("[fd00::5]:5000", "https://[fd00::5]:5000"),
        ("[fd00::5]", "https://[fd00::5]"),
        ("localhost.example:5000", "https://localhost.example:5000"),
    ],
)
def test_without_a_server_containerd_goes_to_the_registry_itself(
    registry: str, server: str
) -> None:
    assert default_server(registry) == server
    made = compose(site(registry=registry), None, address=ADDRESS, first=False).text
    assert list(tomllib.loads(made)["host"]) == [server, ADDRESS]
    assert [each["url"] for each in endpoints(site(registry=registry), None)] == [server]


@pytest.mark.parametrize(
    ("reference", "registry"),
    [
        ("registry.example:5050/infra-ci:latest", "registry.example:5050"),
        ("docker.io/library/debian:12", "docker.io"),
        ("[::1]:5000/x:y", "[::1]:5000"),
        ("localhost/x:y", "localhost"),
    ],
)
def test_the_directory_of_a_registry_is_named_as_containerd_names_it(
    reference: str, registry: str
) -> None:
    assert registry_of(reference) == registry


# Who is asked


PLAIN = {"override_path": False, "ca": [], "client": [], "skip_verify": False}


def test_every_host_is_asked_in_order_with_its_own_tls_settings_and_the_server_last() -> None:
    text = """
server = "registry.example"
ca = "ca.crt"
[host."https://one.example/v2/cache"]
  override_path = true
  ca = ["/etc/one.crt", "two.crt"]
[host."two.example"]
  skip_verify = true
  client = [["a.cert", "/etc/a.key"], ["/etc/b.cert", "b.key"]]
[host."http://three.example"]
  client = ["x.pem", "/etc/y.pem"]
[host."http://four.example"]
  client = "z.pem"
"""
    at = f"{CERTS}/{REGISTRY}"
    assert endpoints(site(text), text) == [
        {
            **PLAIN,
            "url": "https://one.example/v2/cache",
            "override_path": True,
            "ca": ["/etc/one.crt", f"{at}/two.crt"],
        },
        {
            **PLAIN,
            "url": "https://two.example",
            "skip_verify": True,
            "client": [[f"{at}/a.cert", "/etc/a.key"], ["/etc/b.cert", f"{at}/b.key"]],
        },
        {**PLAIN, "url": "http://three.example", "client": [[f"{at}/x.pem"], ["/etc/y.pem"]]},
        {**PLAIN, "url": "http://four.example", "client": [[f"{at}/z.pem"]]},
        {**PLAIN, "url": "https://registry.example", "ca": [f"{at}/ca.crt"]},
    ]


def test_without_a_hosts_toml_the_registry_is_asked_with_the_certificates_that_lie_there() -> None:
    for text in (None, ""):
        assert endpoints(
            site(text, ca=("/c/ca.crt",), client=(("/c/a.cert", "/c/a.key"),)), text
        ) == [{**PLAIN, "url": SERVER, "ca": ["/c/ca.crt"], "client": [["/c/a.cert", "/c/a.key"]]}]


def test_with_our_own_file_in_place_those_are_asked_that_were_there_before_us() -> None:
    mirror = '[host."https://mirror.example"]\n'
    ours = compose(site(mirror), mirror, address=ADDRESS, first=False).text
    assert [each["url"] for each in endpoints(site(ours), mirror)] == [
        "https://mirror.example",
        SERVER,
    ]


def test_who_asks_a_file_in_default_is_asked_by_its_hosts() -> None:
    assert [
        each["url"]
        for each in endpoints(site(None, default='[host."https://mirror.example"]\n'), None)
    ] == ["https://mirror.example", SERVER]


@pytest.mark.parametrize("text", ["nonsense", "host = 5\n"])
def test_nobody_is_asked_by_a_file_that_cannot_be_understood(text: str) -> None:
    with pytest.raises(Refused):
        endpoints(site(text), text)


# Whether it lists us


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (f'[host."{ADDRESS}"]\n', True),
        (f'# [host."{ADDRESS}"]\n', False),
        ('[host."http://127.0.0.1:4001"]\n', False),
        (f'server = "{ADDRESS}"\n', False),
        ("nonsense", False),
        ("host = 5\n", False),
        ("", False),
        (None, False),
    ],
)
def test_a_file_lists_the_node_only_where_containerd_would_ask_it(
    text: str | None, answer: bool
) -> None:
    assert lists(text, ADDRESS, first=False) is answer
    assert lists(text, ADDRESS, first=True) is answer, "it is the only host of each"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (f'[host."{ADDRESS}"]\n[host."https://mirror.example"]\n', True),
        (f'[host."https://mirror.example"]\n[host."{ADDRESS}"]\n', False),
        (f'server = "{SERVER}"\n[host."{ADDRESS}"]\n', True),
        (f'# [host."https://mirror.example"]\n[host."{ADDRESS}"]\n', True),
    ],
)
def test_a_file_lists_the_node_first_only_where_no_other_host_comes_before_it(
    text: str, answer: bool
) -> None:
    assert lists(text, ADDRESS, first=True) is answer
    assert lists(text, ADDRESS, first=False)
