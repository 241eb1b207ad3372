"""README.md, runbook.md and the demo say what is true: their commands exist, their screens are real
ones, their tables are the code's.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from breakglass import config, errors
from breakglass.cli.app import app
from breakglass.cli.exit_codes import MEANING
from breakglass.cli.outcome import Outcome
from breakglass.observe.shelf import Record
from breakglass.sandbox.estate import Estate, raise_estate

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("README.md", "runbook.md")
BREAKGLASS = Path(sys.executable).with_name("breakglass")
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # a group, in typer's own click
GLOBAL_OPTIONS = {
    name for parameter in typer.main.get_command(app).params for name in parameter.opts
}
OPERATORS = {";", "&&", "||", "|", ">", ">>", "&"}


@dataclass(frozen=True)
class Block:
    """A fenced block, and the comment `<!-- ... -->` in the line before it."""

    document: str
    line: int
    language: str
    text: str
    comment: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"

    @property
    def is_for_the_sandbox(self) -> bool:
        return self.comment.startswith("sandbox")

    @property
    def preparation(self) -> str:
        return self.comment.partition(":")[2].strip()

    @property
    def needs_kubectl(self) -> bool:
        return self.comment.startswith("sandbox kubectl")

    @property
    def host(self) -> str | None:
        found = re.match(r"sandbox on (\S+?):?(?:\s|$)", self.comment)
        return found[1] if found else None


def read(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(document: str) -> list[Block]:
    found, comment, opened, kept = [], "", None, list[str]()
    for number, line in enumerate(read(document).splitlines(), 1):
        bare = line.strip()
        if opened is None and bare.startswith("```"):
            opened, kept = (number, bare[3:], line.index("`")), []
        elif opened is not None and bare == "```":
            found.append(Block(document, opened[0], opened[1], "\n".join(kept), comment))
            opened, comment = None, ""
        elif opened is not None:
            kept.append(line[opened[2] :])
        elif bare:
            comment = bare[4:-3].strip() if bare.startswith("<!--") and bare.endswith("-->") else ""
    return found


def spans(document: str) -> list[str]:
    """The inline code, outside of fenced blocks; in a table `|` is written as `\\|`."""
    prose = re.sub(r"^ *```.*?^ *```$", "", read(document), flags=re.MULTILINE | re.DOTALL)
    return [span.replace("\\|", "|") for span in re.findall(r"`([^`\n]+)`", prose)]


def table(document: str, heading: str) -> list[list[str]]:
    """The rows of the first table under a heading."""
    lines = read(document).split(f"\n## {heading}\n", 1)[1].splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return rows


def command_lines(document: str) -> Iterator[str]:
    """Everything that is written as a command line of breakglass."""
    for block in blocks(document):
        if block.language == "console":
            lines = [line[2:] for line in block.text.splitlines() if line.startswith("$ ")]
        else:
            lines = (
                [line.strip().removeprefix("- ") for line in block.text.splitlines()]
                if block.language in ("sh", "yaml")
                else []
            )
        yield from (line for line in lines if line.startswith("breakglass "))
        yield from (
            part
            for part in re.split("&&|;", block.preparation)
            if part.strip().startswith("breakglass ")
        )
    for span in spans(document):
        first = span.split()[0]
        if span.startswith("breakglass ") or (first in COMMANDS and "--" in span):
            yield span if first == "breakglass" else f"breakglass {span}"


def check_command_line(line: str) -> None:
    """Raises AssertionError where the CLI does not know a word of it; the arguments are parsed by
    the CLI's own parser.
    """
    words = []
    for word in shlex.split(re.sub(r"[\[\]]", " ", line), comments=True)[1:]:
        if word in OPERATORS:
            break
        words.append(word.rstrip(";"))
        if word.endswith(";"):
            break
    while words and words[0].startswith("-"):
        option = words.pop(0)
        assert option in GLOBAL_OPTIONS, f"{option} is no global option"
        if option in ("--config", "-c"):
            words.pop(0)
    if not words or words[0] == "COMMAND":
        return
    name, *rest = words
    assert name in COMMANDS, f"there is no command {name}"
    rest = [word for word in rest if word != "..."]
    own = rest[: rest.index("--")] if "--" in rest else rest
    known = {
        option
        for parameter in COMMANDS[name].params
        for option in (*parameter.opts, *parameter.secondary_opts)
    } | {"--help", "-h"}
    assert not [word for word in own if word.startswith("-") and word not in known]
    if "--help" not in own:
        COMMANDS[name].make_context(name, list(rest))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_line_in_the_documents_is_one_that_the_cli_understands(document: str) -> None:
    lines = list(command_lines(document))
    assert len(lines) > 15
    wrong = {}
    for line in lines:
        try:
            check_command_line(line)
        except Exception as error:  # typer has a click of its own, whose errors have no public home
            wrong[line] = str(error)
    assert not wrong


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
    known = GLOBAL_OPTIONS | {
        option
        for command in COMMANDS.values()
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    named = {span.split()[0] for span in spans(document) if re.match(r"--[a-z]", span)}
    assert named
    assert named <= known


def test_the_readmes_table_of_commands_has_every_command() -> None:
    told = {row[0].strip("`").split()[0] for row in table("README.md", "Commands")}
    assert told == set(COMMANDS)


def test_every_option_of_every_command_stands_in_the_readmes_table_or_is_common_to_all() -> None:
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
    told = {code: word for code, word, _ in table("README.md", "Exit codes")}
    known = {str(code): kind.kind for code, kind in errors.BY_EXIT_CODE.items()}
    assert {"0", *known, "10"} == {str(code) for code in MEANING}
    assert told == known | {
        "0": "ok",
        "1": errors.BreakglassError.kind,
        "10": "not needed",
        "128+n": errors.Interrupted.kind,
    }


def test_the_runbook_explains_every_exit_code_that_an_outage_can_bring() -> None:
    told = {
        code
        for row in table("runbook.md", "3. What the answers mean")
        for code in row[0].split(", ")
    }
    assert told >= {str(code) for code in (0, 1, *errors.BY_EXIT_CODE)}


def test_the_readmes_json_has_the_keys_of_the_code() -> None:
    (block,) = (block for block in blocks("README.md") if block.comment == "json")
    shown: dict[str, Any] = json.loads(block.text)
    told = Outcome("check", error=errors.Refused("no")).told()
    assert (list(shown), list(shown["error"])) == (list(told), list(told["error"]))


def test_the_readmes_record_has_the_keys_of_the_code() -> None:
    section = read("README.md").split("The record is one JSON object:")[1].split("\n\n")[1]
    told = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert set(told) - {"schema", "previous"} == {field.name for field in fields(Record)} - {"text"}


REQUIRED = (
    "image: {repository: registry.example/infra-ci}\nregistry_vm: {ssh: root@vm, directory: /srv}\n"
)
ITEMS = {
    "fallbacks": "fallbacks: [{name: nas, ssh: nas, directory: /srv}]\n",
    "registries": 'registries: [{name: one, url: "https://one.example", repository: infra-ci}]\n',
}


def test_the_readmes_table_of_the_configuration_has_every_key_with_the_loaders_default(
    tmp_path: Path,
) -> None:
    path = tmp_path / "breakglass.yaml"
    path.write_text(REQUIRED + "".join(ITEMS.values()), encoding="utf-8")
    loaded = config.load(path)
    rows = {key.strip("`"): default for key, default, _ in table("README.md", "Configuration")}
    found: dict[str, object] = {}
    for section in fields(config.Config):
        value = getattr(loaded, section.name)
        if section.name != "source":
            one, name = (
                (value[0], f"{section.name}[]")
                if isinstance(value, tuple)
                else (value, section.name)
            )
            found |= {f"{name}.{key.name}": getattr(one, key.name) for key in fields(one)}
    assert list(rows) == list(found)
    for key, default in rows.items():
        if default == "required":
            assert "is missing" in refused_without(path, key), key
        elif key == "image.name":
            assert (default, found[key]) == ("last part of `repository`", "infra-ci")
        else:
            assert plain(yaml.safe_load(default.strip("`"))) == plain(found[key]), key


def refused_without(path: Path, key: str) -> str:
    """What the loader says of a configuration without this key."""
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
    (block,) = (block for block in blocks("README.md") if block.comment == "clusterrole")
    role = yaml.safe_load(block.text)
    assert (role["apiVersion"], role["kind"]) == ("rbac.authorization.k8s.io/v1", "ClusterRole")
    assert {tuple(rule["resources"]): rule["verbs"] for rule in role["rules"]} == {
        ("nodes",): ["get", "list", "patch"],
        ("pods", "persistentvolumes"): ["list"],
    }


@pytest.mark.parametrize("document", [*DOCUMENTS, "CHANGELOG.md"])
def test_every_relative_link_leads_somewhere(document: str) -> None:
    for target in links(document):
        file, _, anchor = target.partition("#")
        assert not re.match(r"[a-z]+:", target), target
        assert (ROOT / file).is_file(), target
        assert not anchor or anchor in anchors(file), target


def links(document: str) -> list[str]:
    """Where it points to: FILE or FILE#ANCHOR, relative to the root."""
    prose = re.sub(r"^ *```.*?^ *```$", "", read(document), flags=re.MULTILINE | re.DOTALL)
    return [
        document + target if target.startswith("#") else target
        for target in re.findall(r"\]\(([^)\s]+)\)", prose)
    ]


def anchors(document: str) -> set[str]:
    """As forges make them of headings: lower case, without punctuation, spaces to hyphens."""
    headings = re.findall(r"^#+ (.+)$", read(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", [*DOCUMENTS, "CHANGELOG.md", "examples/demo.sh"])
def test_the_documents_name_no_path_of_a_home_or_workplace(document: str) -> None:
    assert not re.findall(r"(?<![\w.])/(?:root|home|work)/", read(document))


@pytest.fixture
def estate() -> Iterator[Estate]:
    with raise_estate() as raised:
        yield raised


@pytest.mark.slow
def test_the_readmes_screens_are_what_the_sandbox_shows(estate: Estate) -> None:
    marked = [block for block in blocks("README.md") if block.is_for_the_sandbox]
    assert len(marked) > 4
    for block in marked:
        for command, expected in screens(block.text):
            ended = run(estate, block.preparation, command)
            assert ended.returncode == 0, f"{block}: {command}\n{ended.stdout}"
            shows(expected, ended.stdout.splitlines(), where=f"{block}: {command}")


def test_the_screen_of_the_readme_that_opens_the_sandbox_is_its_banner(estate: Estate) -> None:
    (screen,) = (
        block
        for block in blocks("README.md")
        if block.language == "console" and not block.is_for_the_sandbox
    )
    ((command, expected),) = screens(screen.text)
    assert command == "breakglass sandbox"
    shows(expected, estate.banner.splitlines(), where=str(screen))


def test_a_screen_that_is_not_real_would_be_noticed() -> None:
    for expected in (["one", "two"], ["one", "...", "four"], ["o... x"], ["one"]):
        with pytest.raises(AssertionError):
            shows(expected, ["one", "three"], where="")
    shows(["o...", "...", "three"], ["one", "two", "three"], where="")


@pytest.mark.slow
def test_every_block_of_the_runbook_that_is_marked_runs_in_the_sandbox_in_order(
    estate: Estate, tmp_path: Path
) -> None:
    marked = [block for block in blocks("runbook.md") if block.is_for_the_sandbox]
    assert len(marked) > 15
    has_kubectl = shutil.which("kubectl") is not None
    answers = []
    for block in marked:
        if block.needs_kubectl and not has_kubectl:
            run(estate, block.preparation, "true")
            continue
        command = (
            block.text
            if block.host is None
            else f"sandbox run {block.host} -- sh -euc {shlex.quote(on_a_node(estate, block.text))}"
        )
        ended = run(estate, block.preparation, command, directory=tmp_path)
        assert ended.returncode == 0, f"{block}\n{ended.stdout}"
        answers += re.findall(r"^exit code (\d+)$", ended.stdout, re.MULTILINE)
    assert answers == ["0", "10"], "the page begins in an outage and ends without one"
    # What bare hands have done is what `import` would have done: no name is left for it to make.
    (by_hand,) = {block.host for block in marked if block.host}
    made = run(estate, "", f"breakglass import {by_hand}").stdout
    assert "images import -" not in made
    assert [
        line.split()[-1].partition("/")[0]
        for line in made.splitlines()
        if re.match(r" *\d+\. .* images tag ", line)
    ] == ["breakglass.local"]


def test_the_demo_touches_nothing_outside_of_a_sandbox() -> None:
    environ = {
        name: value for name, value in os.environ.items() if name != "BREAKGLASS_SANDBOX_CONTROL"
    }
    ended = subprocess.run(
        ["sh", "examples/demo.sh"],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "make demo" in ended.stderr


def screens(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each command of a console block, and the lines shown after it."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, *expected = part.splitlines()
        yield command, expected


def shows(expected: list[str], lines: list[str], *, where: str) -> None:
    """The lines are the expected ones, in order and without others; `...` stands for anything in a
    line, alone for any lines.
    """
    at, may_skip = 0, False
    for wanted in expected:
        if wanted == "...":
            may_skip = True
            continue
        pattern = ".*".join(re.escape(part) for part in wanted.split("..."))
        while may_skip and at < len(lines) and not re.fullmatch(pattern, lines[at]):
            at += 1
        assert at < len(lines), f"{where}: {wanted!r} is not shown"
        assert re.fullmatch(pattern, lines[at]), (
            f"{where}: shown is {lines[at]!r}, the document says {wanted!r}"
        )
        at, may_skip = at + 1, False
    assert may_skip or at == len(lines), f"{where}: {lines[at]!r} is shown as well"


def run(
    estate: Estate, preparation: str, command: str, *, directory: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """In the sandbox, at a terminal whose user answers yes to everything. Output and errors in one,
    as a screen shows them.
    """
    environ = estate.environment()
    if preparation:
        prepared = subprocess.run(
            ["sh", "-euc", preparation],
            cwd=directory,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert prepared.returncode == 0, f"{preparation}\n{prepared.stdout}{prepared.stderr}"
    keyboard, terminal = os.openpty()
    try:
        os.write(keyboard, b"y\n")
        ended = subprocess.run(
            ["sh", "-c", command],
            cwd=directory,
            env=environ,
            stdin=terminal,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        os.close(keyboard)
        os.close(terminal)
    # What the user types is the terminal's to show.
    ended.stdout = ended.stdout.replace("[y/N] ", "[y/N] y\n")
    return ended


def on_a_node(estate: Estate, text: str) -> str:
    """A line for the real estate, with the sandbox's names: its registries have other ports, its
    hosts no root to become.
    """
    loaded = config.load(estate.config)
    names = {
        "registry.viktorbarzin.me:5050": loaded.image.repository.partition("/")[0],
        "forgejo.viktorbarzin.me": loaded.image.also_known_as[1].partition("/")[0],
    }
    for real, ours in {**names, "/var/breakglass": loaded.nodes.directory}.items():
        text = text.replace(real, ours)
    return text
