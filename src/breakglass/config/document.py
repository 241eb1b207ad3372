"""Reads the configuration file as one YAML mapping. Errors name the line."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from breakglass.config.sections import join
from breakglass.errors import AGAIN, Next, Usage, look_first, then
from breakglass.grammar import show

if TYPE_CHECKING:
    import yaml

MAX_BYTES = 1 << 20
EXAMPLE = "breakglass.example.yaml (in the source and in the bundle)"


def parse(path: Path) -> tuple[dict[Any, object], list[str]]:
    """The file's mapping, and a fault for every key that is given twice. Raises Usage."""
    value, faults = _document(_read(path), path)
    if isinstance(value, dict):
        return value, faults
    if value is None:
        raise Usage(
            f"the configuration {path} is empty",
            next_step=edit(path),
        )
    raise Usage(
        f"the configuration {path} holds {show(value)}, not a mapping of sections",
        next_step=edit(path),
    )


def edit(path: Path) -> Next:
    """The command that opens the configuration, and the same command again."""
    return then(
        f"${{EDITOR:-vi}} {shlex.quote(str(path))}",
        AGAIN,
        advice=f"correct it; {EXAMPLE} shows every key",
    )


def _document(text: str, path: Path) -> tuple[object, list[str]]:
    import yaml

    loader: Any = None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        faults = list(_duplicates(node, "", set()))
        return loader.construct_document(node) if node is not None else None, faults
    except yaml.MarkedYAMLError as error:
        raise Usage(f"{path} is not YAML: {_marked(error)}", next_step=edit(path)) from error
    except (yaml.YAMLError, ValueError, KeyError, TypeError, RecursionError) as error:
        # A date in month 13, `!!bool perhaps`, ten thousand brackets: the library does not
        # translate such errors.
        words = " ".join(str(error).split())
        if isinstance(error, RecursionError):
            words = "it is nested too deep"
        raise Usage(f"{path} is not YAML of use here: {words}", next_step=edit(path)) from error
    finally:
        if loader is not None:
            loader.dispose()


def _marked(error: "yaml.MarkedYAMLError") -> str:
    """A syntax error in words, with its line."""
    problem = str(error.problem or error.context)
    words = "".join(character for character in problem if character.isprintable())
    # PyYAML writes the tab that it met as two characters, a backslash and a t.
    if "\\t" in problem:
        words += "; YAML is indented with spaces, never with tabs"
    mark = error.problem_mark or error.context_mark
    return f"line {mark.line + 1}, column {mark.column + 1}: {words}" if mark else words


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise Usage(
            f"the configuration {path} cannot be read: {error.strerror}",
            next_step=look_first(shlex.join(("ls", "-ld", str(path)))),
        ) from error
    if len(content) > MAX_BYTES:
        raise Usage(
            f"the configuration {path} is larger than {MAX_BYTES} bytes; it is something else",
            next_step=look_first(shlex.join(("ls", "-l", str(path)))),
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Usage(
            f"the configuration {path} is not UTF-8 text (line {line})",
            next_step=look_first(shlex.join(("file", str(path)))),
        ) from error


def _duplicates(node: Any, path: str, seen: set[int]) -> Iterator[str]:
    """A fault for every key that a mapping has twice. YAML readers silently keep the last value."""
    # With aliases a node can be inside itself.
    if node is None or node.id == "scalar" or id(node) in seen:
        return
    seen.add(id(node))
    if node.id == "sequence":
        for index, item in enumerate(node.value):
            yield from _duplicates(item, f"{path}[{index}]", seen)
        return
    lines: dict[str, int] = {}
    for key, item in node.value:
        line = key.start_mark.line + 1
        name = str(key.value) if key.id == "scalar" else "?"
        inner = join(path, name)
        if key.id == "scalar" and name in lines:
            yield f"{inner}: given twice, in line {lines[name]} and in line {line}"
        lines.setdefault(name, line)
        yield from _duplicates(item, inner, seen)
