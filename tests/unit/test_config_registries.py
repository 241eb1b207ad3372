"""Which registries are asked: they follow from the names of the image."""

from pathlib import Path

import pytest

from breakglass.config import Image, Registry, registry_at
from breakglass.config.registries import registries_of

PRIVATE = "registry.example:5050/infra-ci"
CA = Path("/etc/ca.crt")


def asked(
    *names: str, configured: tuple[Registry, ...] = ()
) -> list[tuple[str, str, str, tuple[str, ...]]]:
    """Name, URL, repository, and the repositories by which pods pull from there."""
    repository, *aliases = names
    return [
        (each.name, each.url, each.repository, each.names)
        for each in registries_of(Image(repository, "infra-ci", tuple(aliases)), configured)
    ]


def test_without_any_configured_registry_each_host_of_a_name_is_asked_over_https() -> None:
    assert asked(PRIVATE, f"{PRIVATE}:latest", "forgejo.example/viktor/infra-ci:{tag}") == [
        ("registry.example:5050", "https://registry.example:5050", "infra-ci", (PRIVATE,)),
        (
            "forgejo.example",
            "https://forgejo.example",
            "viktor/infra-ci",
            ("forgejo.example/viktor/infra-ci",),
        ),
    ]


def test_two_repositories_on_one_host_are_two_questions() -> None:
    assert [
        (name, repository) for name, _, repository, _ in asked("r.example/a", "r.example/b:x")
    ] == [
        ("r.example/a", "a"),
        ("r.example/b", "b"),
    ]


@pytest.mark.parametrize(
    ("repository", "url"),
    [
        ("docker.io/library/debian", "https://registry-1.docker.io"),
        ("index.docker.io/library/debian", "https://registry-1.docker.io"),
        ("localhost/infra-ci", "http://localhost"),
        ("127.0.0.1:5000/infra-ci", "http://127.0.0.1:5000"),
        ("[::1]:5000/infra-ci", "http://[::1]:5000"),
        ("127.example/infra-ci", "https://127.example"),
    ],
)
def test_the_address_of_a_host_is_the_one_that_docker_and_containerd_use(
    repository: str, url: str
) -> None:
    ((_, asked_url, _, _),) = asked(repository)
    assert asked_url == url


@pytest.mark.parametrize(
    ("url", "repository"),
    [
        ("https://forgejo.example", "viktor/infra-ci"),
        ("https://forgejo.example:443", "viktor/infra-ci"),
        ("http://Forgejo.example:80", "viktor/infra-ci"),
        ("http://forgejo.example", "mirror/of/infra-ci"),
    ],
)
def test_a_configured_registry_of_a_host_takes_its_place(url: str, repository: str) -> None:
    named = "forgejo.example/viktor/infra-ci"
    assert asked(named, configured=(Registry("forgejo", url, repository),)) == [
        ("forgejo", url, repository, (named,))
    ]


def test_a_second_repository_of_a_configured_host_gets_its_scheme_and_ca() -> None:
    names = Image("r.example/a", "infra-ci", ("r.example/b:x",))
    known = Registry("ours", "http://r.example", "a", CA)
    assert registries_of(names, (known,)) == (
        Registry("ours", "http://r.example", "a", CA, names=("r.example/a",)),
        Registry("r.example/b", "http://r.example", "b", CA, names=("r.example/b",)),
    )


def test_a_configured_registry_that_no_name_points_to_is_asked_too_and_serves_no_name() -> None:
    mirror = Registry("mirror", "https://mirror.example:8443", "infra-ci")
    assert asked(PRIVATE, configured=(mirror,)) == [
        ("mirror", "https://mirror.example:8443", "infra-ci", ()),
        ("registry.example:5050", "https://registry.example:5050", "infra-ci", (PRIVATE,)),
    ]
    # Another port of the same machine is another registry.
    assert len(asked("mirror.example/infra-ci", configured=(mirror,))) == 2


def test_the_registry_of_a_name_has_the_ca_of_the_configured_one_and_no_names() -> None:
    known = Registry("ours", "https://r.example", "a", CA, names=("r.example/a",))
    assert registry_at("r.example:443", "b", [known]) == Registry(
        "ours", "https://r.example", "b", CA
    )
    assert registry_at("docker.io", "b", [known]).url == "https://registry-1.docker.io"
