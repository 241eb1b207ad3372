"""The documents say what is true: their commands and options exist, their links lead somewhere,
their tables are those of the code.
"""

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from breakglass import config, errors
from breakglass.cli.exit_codes import MEANING
from breakglass.cli.outcome import Outcome
from breakglass.observe.record import Record
from tests.front.documents import (
    COMMANDS,
    DOCUMENTS,
    GLOBAL_OPTIONS,
    ROOT,
    anchors,
    blocks,
    check_command_line,
    command_lines,
    links,
    read,
    spans,
    table,
)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_line_in_the_documents_is_one_that_the_cli_understands(document: str) -> None:
    wrong = {}
    for line in command_lines(document):
        try:
            check_command_line(line)
        except Exception as error:  # typer has a click of its own, whose errors have no public home
            wrong[line] = str(error)
    assert not wrong


@pytest.mark.parametrize("document", ["README.md", "runbook.md"])
def test_the_pages_for_an_outage_are_full_of_command_lines(document: str) -> None:
    assert len(list(command_lines(document))) > 15


def test_the_readme_is_short_and_fits_an_ordinary_screen() -> None:
    lines = read("README.md").splitlines()
    assert len(lines) <= 200
    assert [line for line in lines if len(line) > 110] == []


def test_the_readme_leads_to_every_other_page() -> None:
    assert {target.partition("#")[0] for target in links("README.md")} >= set(DOCUMENTS) - {
        "README.md"
    }


@pytest.mark.parametrize(
    "line",
    [
        "breakglass burn",
        "breakglass fetch --fast",
        "breakglass --fast check",
        "breakglass check one two",
        "breakglass pin a b",
    ],
)
def test_a_command_line_that_the_cli_does_not_know_would_be_noticed(line: str) -> None:
    with pytest.raises(Exception):  # noqa: B017
        check_command_line(line)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_flag_that_is_named_alone_exists_somewhere(document: str) -> None:
    known = {"--help", *GLOBAL_OPTIONS} | {
        option
        for command in COMMANDS.values()
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    named = {span.split()[0] for span in spans(document) if re.match(r"--[a-z]", span)}
    assert named or document not in ("README.md", "runbook.md")
    assert named <= known


def test_the_readmes_table_of_commands_has_every_command() -> None:
    listed = {row[0].strip("`").split()[0] for row in table("README.md", "Commands")}
    assert listed == set(COMMANDS)


def test_every_option_of_every_command_is_in_the_readmes_table_or_is_common_to_all() -> None:
    common = {"--json", "--verbose", "--help"}
    for row in table("README.md", "Commands"):
        name = row[0].strip("`").split()[0]
        options = {
            option
            for parameter in COMMANDS[name].params
            for option in (*parameter.opts, *parameter.secondary_opts)
            if option.startswith("--")
        } - common
        assert set(re.findall(r"--[a-z][a-z-]*", row[0])) == options, name


def test_the_readmes_exit_codes_are_those_of_the_code() -> None:
    listed = {code: word for code, word, _ in table("README.md", "Exit codes")}
    known = {str(code): kind.kind for code, kind in errors.BY_EXIT_CODE.items()}
    assert {"0", *known, "10", "11"} == {str(code) for code in MEANING}
    assert listed == known | {
        "0": "ok",
        "1": errors.BreakglassError.kind,
        "10": "not needed",
        "11": "partly",
        "128+n": errors.Interrupted.kind,
    }


def test_the_runbook_explains_every_exit_code_that_an_outage_can_bring() -> None:
    explained = {
        code
        for row in table("runbook.md", "3. What the answers mean")
        for code in row[0].split(", ")
    }
    assert explained >= {str(code) for code in (0, 1, *errors.BY_EXIT_CODE)}


def test_the_json_of_the_documents_has_the_keys_of_the_code() -> None:
    (block,) = (block for block in blocks("docs/json.md") if block.comment == "json")
    shown: dict[str, Any] = json.loads(block.text)
    printed = Outcome("check", error=errors.Refused("no")).to_json()
    assert (list(shown), list(shown["error"])) == (list(printed), list(printed["error"]))


def test_the_record_of_the_documents_has_the_keys_of_the_code() -> None:
    keys = [row[0].strip("`") for row in table("docs/files.md", "The record")]
    assert set(keys) - {"schema", "previous"} == {field.name for field in fields(Record)} - {"text"}


REQUIRED = (
    "image: {repository: registry.example/infra-ci}\nregistry_vm: {ssh: root@vm, directory: /srv}\n"
)
ITEMS = {
    "fallbacks": "fallbacks: [{name: nas, ssh: nas, directory: /srv}]\n",
    "registries": 'registries: [{name: one, url: "https://one.example", repository: infra-ci}]\n',
}


def test_the_table_of_the_configuration_has_every_key_with_the_loaders_default(
    tmp_path: Path,
) -> None:
    path = tmp_path / "breakglass.yaml"
    path.write_text(REQUIRED + "".join(ITEMS.values()), encoding="utf-8")
    loaded = config.load(path)
    page = table("docs/configuration.md", "Keys")
    rows = {key.strip("`"): default for key, default, _ in page}
    known: dict[str, object] = {}
    for section in fields(config.Config):
        value = getattr(loaded, section.name)
        if section.name != "source":
            is_list = isinstance(value, tuple)
            item = value[0] if is_list else value
            name = f"{section.name}[]" if is_list else section.name
            known |= {f"{name}.{key.name}": getattr(item, key.name) for key in fields(item)}
    # No key: it follows from the names of the image.
    del known["registries[].names"]
    assert list(rows) == list(known)
    for key, default in rows.items():
        if default == "required":
            assert "is missing" in refused_without(path, key), key
        elif key == "image.name":
            assert (default, known[key]) == ("last part of `repository`", "infra-ci")
        else:
            assert plain(yaml.safe_load(default.strip("`"))) == plain(known[key]), key


def refused_without(path: Path, key: str) -> str:
    """The loader's error for a configuration without this key."""
    data = yaml.safe_load(REQUIRED + "".join(ITEMS.values()))
    section, _, name = key.partition(".")
    (data[section[:-2]][0] if section.endswith("[]") else data[section]).pop(name)
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    with pytest.raises(errors.Usage) as refused:
        config.load(path)
    return next((line for line in refused.value.message.splitlines() if name in line), "")


def plain(value: object) -> object:
    if isinstance(value, tuple):
        return list(value)
    text = str(value) if isinstance(value, Path) else value
    return str(Path(text).expanduser()) if isinstance(text, str) and text.startswith("~") else text


def test_the_example_configuration_is_one_that_the_loader_takes() -> None:
    assert config.load(ROOT / "breakglass.example.yaml").image.name == "infra-ci"


def test_the_cluster_role_is_yaml_and_asks_for_nodes_pods_and_volumes_only() -> None:
    (block,) = (block for block in blocks("docs/security.md") if block.comment == "clusterrole")
    role = yaml.safe_load(block.text)
    assert (role["apiVersion"], role["kind"]) == ("rbac.authorization.k8s.io/v1", "ClusterRole")
    assert {tuple(rule["resources"]): rule["verbs"] for rule in role["rules"]} == {
        ("nodes",): ["get", "list", "patch"],
        ("pods", "persistentvolumes"): ["list"],
    }


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_relative_link_leads_somewhere(document: str) -> None:
    for target in links(document):
        file, _, anchor = target.partition("#")
        assert not re.match(r"[a-z]+:", target), target
        assert (ROOT / file).is_file(), target
        assert not anchor or anchor in anchors(file), target


@pytest.mark.parametrize("document", [*DOCUMENTS, "examples/demo.sh"])
def test_the_documents_name_no_path_of_a_home_or_workplace(document: str) -> None:
    assert not re.findall(r"(?<![\w.])/(?:root|home|work)/", read(document))


def test_every_test_that_the_page_about_security_names_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", read("docs/security.md"))
    assert len(named) > 8
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not (ROOT / file).is_file() or f"\ndef {name}(" not in (ROOT / file).read_text()
    ]
    assert missing == []
