"""The configuration's file as one mapping. What is not YAML of use here is told with its line."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from breakglass.config.sections import join
from breakglass.errors import Usage
from breakglass.grammar import show

MAX_BYTES = 1 << 20
EXAMPLE = "breakglass.example.yaml (in the source and in the bundle)"


def parse(path: Path) -> tuple[object, list[str]]:
    """The file's one document, and its keys that are given twice."""
    text = _read(path)
    import yaml

    loader: Any = None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        faults = list(_duplicates(node, "", set()))
        value = loader.construct_document(node) if node is not None else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        tabs = (
            "; YAML is indented with spaces, never with tabs" if "\\t" in str(error.problem) else ""
        )
        words = "".join(
            character
            for character in str(error.problem or error.context)
            if character.isprintable()
        )
        raise Usage(
            f"{path} is not YAML: {where}{words}{tabs}", next_step=f"correct it: {path}"
        ) from error
    except (yaml.YAMLError, ValueError, KeyError, TypeError, RecursionError) as error:
        # A date in month 13, `!!bool perhaps`, ten thousand brackets: the library lets such errors
        # out bare.
        words = (
            "it is nested too deep"
            if isinstance(error, RecursionError)
            else " ".join(str(error).split())
        )
        raise Usage(
            f"{path} is not YAML of use here: {words}", next_step=f"correct it: {path}"
        ) from error
    finally:
        if loader is not None:
            loader.dispose()
    if value is None:
        raise Usage(
            f"the configuration {path} is empty",
            next_step=f"fill it: {path}; {EXAMPLE} shows every key",
        )
    if not isinstance(value, dict):
        raise Usage(
            f"the configuration {path} holds {show(value)}, not a mapping of sections",
            next_step=f"correct it: {path}; {EXAMPLE} shows every key",
        )
    return value, faults


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise Usage(
            f"the configuration {path} cannot be read: {error.strerror}", next_step=f"ls -ld {path}"
        ) from error
    if len(content) > MAX_BYTES:
        raise Usage(
            f"the configuration {path} is larger than {MAX_BYTES} bytes; it is something else",
            next_step=f"ls -l {path}",
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Usage(
            f"the configuration {path} is not UTF-8 text (line {line})", next_step=f"file {path}"
        ) from error


def _duplicates(node: Any, path: str, seen: set[int]) -> Iterator[str]:
    """Keys that stand twice in one mapping, of which YAML readers silently keep the last."""
    if node is None or node.id == "scalar" or id(node) in seen:
        return
    seen.add(id(node))
    if node.id == "sequence":
        for index, item in enumerate(node.value):
            yield from _duplicates(item, f"{path}[{index}]", seen)
        return
    lines: dict[str, int] = {}
    for key, item in node.value:
        name = str(key.value) if key.id == "scalar" else "?"
        inner = join(path, name)
        if key.id == "scalar" and name in lines:
            yield (
                f"{inner}: given twice, in line {lines[name]} and in line {key.start_mark.line + 1}"
            )
        lines.setdefault(name, key.start_mark.line + 1)
        yield from _duplicates(item, inner, seen)
