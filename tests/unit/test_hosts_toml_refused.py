"""hosts.toml: what is refused, and not repaired."""

import tomllib

import pytest

from breakglass.errors import Refused
from tests.unit.hosts_toml_texts import ADDRESS, composed, refused

# Refused


@pytest.mark.parametrize(
    "text", ["server = \n", "\ufeffserver = 'x'\n", "a\rb", "[host.'x']\n[host.'x']\n", "\0"]
)
def test_a_file_that_is_no_toml_is_refused_and_not_repaired(text: str) -> None:
    assert "no TOML" in refused(text)


@pytest.mark.parametrize("text", ["host = 'x'\n", "host = ['x']\n", "[[host]]\n", "host = 5\n"])
def test_a_host_that_is_no_table_is_refused(text: str) -> None:
    assert "no table" in refused(text)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        'host = { "https://m.example" = { capabilities = ["pull"] } }\n',
        '[[host."https://m.example"]]\n',
        f'[host]\n"{ADDRESS}" = {{ skip_verify = true }}\n',
        f'[host."{ADDRESS}"]\n',
        "[host]\nx = 1\n",
    ],
)
def test_hosts_in_a_form_that_nothing_can_be_added_to_are_refused(text: str, first: bool) -> None:
    assert refused(text, first=first)


@pytest.mark.parametrize(
    "setting",
    [
        "ca = 1979-05-27",
        "client = [[1979-05-27T07:32:00Z]]",
        "skip_verify = nan",
        "override_path = 07:32:00",
        "capabilities = [1979-05-27]",
        "header = 5",
    ],
)
def test_a_setting_of_a_kind_that_containerd_does_not_know_is_refused_or_kept_but_no_bug(
    setting: str,
) -> None:
    text = f"server = 'https://registry.example'\n{setting}\n"
    try:
        made = composed(text)
    except Refused:
        return
    assert made.items() >= tomllib.loads(text).items() or "nan" in setting


@pytest.mark.parametrize("control", ["\\u0001", "\\n", "\\u2028", "\\U0001F600", '\\"', "\\\\"])
def test_a_text_with_any_character_in_it_is_copied_as_it_is(control: str) -> None:
    text = f'server = "https://registry.example"\nca = "/etc/{control}.crt"\n'
    assert composed(text)["host"]["https://registry.example"]["ca"] == tomllib.loads(text)["ca"]
