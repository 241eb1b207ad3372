"""The documents as data: their code blocks, command lines, tables, links and headings."""

import itertools
import posixpath
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import typer

from breakglass.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = (
    "README.md",
    "runbook.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").glob("*.md")),
)
"""Every page that a user reads. A new file in docs/ is checked like the others."""
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
        matched = re.match(r"sandbox on (\S+?):?(?:\s|$)", self.comment)
        return matched[1] if matched else None


def read(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(document: str) -> list[Block]:
    complete, comment, opened, kept = list[Block](), "", None, list[str]()
    for number, line in enumerate(read(document).splitlines(), 1):
        bare = line.strip()
        if opened is None and bare.startswith("```"):
            opened, kept = (number, bare[3:], line.index("`")), []
        elif opened is not None and bare == "```":
            complete.append(Block(document, opened[0], opened[1], "\n".join(kept), comment))
            opened, comment = None, ""
        elif opened is not None:
            kept.append(line[opened[2] :])
        elif bare:
            comment = bare[4:-3].strip() if bare.startswith("<!--") and bare.endswith("-->") else ""
    return complete


def spans(document: str) -> list[str]:
    """The inline code, outside of fenced blocks; in a table `|` is written as `\\|`."""
    return [span.replace("\\|", "|") for span in re.findall(r"`([^`\n]+)`", prose(document))]


def prose(document: str) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^ *```.*?^ *```$", "", read(document), flags=re.MULTILINE | re.DOTALL)


def table(document: str, heading: str) -> list[list[str]]:
    """The rows of the first table under a heading of the first or second level."""
    lines = re.split(rf"^##? {re.escape(heading)}$", read(document), flags=re.MULTILINE)[1]
    return rows(lines.splitlines())


def rows(lines: list[str]) -> list[list[str]]:
    """The cells of the first table in these lines."""
    start = next(index for index, line in enumerate(lines) if line.startswith("|"))
    body = itertools.takewhile(lambda line: line.startswith("|"), lines[start + 2 :])
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in body]


def command_lines(document: str) -> Iterator[str]:
    """Every command line of breakglass, in fenced blocks, preparations and inline code."""
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
    """Parse it with the CLI's own parser. Raises AssertionError for an unknown word."""
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


def links(document: str) -> list[str]:
    """The targets of its links, FILE or FILE#ANCHOR, relative to the root."""
    directory = posixpath.dirname(document)
    return [
        document + target
        if target.startswith("#")
        else posixpath.normpath(posixpath.join(directory, target))
        for target in re.findall(r"\]\(([^)\s]+)\)", prose(document))
    ]


def anchors(document: str) -> set[str]:
    """The anchors of its headings, as forges make them: lower case, no punctuation, hyphens."""
    headings = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
