"""What the property tests share: how many examples they run, and texts that are meant to do
harm.
"""

import copy
import dataclasses
import json
import os
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import settings
from hypothesis import strategies as some

from breakglass.errors import BreakglassError

TIMES = int(os.environ.get("BREAKGLASS_EXAMPLES_TIMES", "1"))
"""So many times more examples than in `make test`, and other ones each time:
`BREAKGLASS_EXAMPLES_TIMES=100 pytest tests/unit/test_properties_grammar.py`.
"""

HOSTILE = (
    *(
        "",
        ";touch x",
        "$(id)",
        "`id`",
        "-rf",
        "--",
        "-oProxyCommand=id",
        "a b",
        "a;b",
        "a|b",
        "a&b",
        "a>b",
        "*",
        "~",
        "a\\b",
        "'",
        '"',
        "!!",
        "${IFS}",
        "../x",
        "/../x",
    ),
    *(
        "a\n",
        "\na",
        "a\n-rf",
        "a\r",
        "a\t",
        "a\0",
        "a\x1b[31m",
        "[/root]",
        "a\u2028b",
        "a\u202eb",
        "a\u00a0b",
        "\ufeffa",
        "\ud800",
        "ä",
        "а",
        "１",
        "a" * 5000,
    ),
)
"""None of them is a tag, a name or a host."""


def examples(number: int) -> settings:
    """So many examples of a property, for conftest.py's other settings."""
    return settings(max_examples=number * TIMES)


def mangled(texts: some.SearchStrategy[str]) -> some.SearchStrategy[str]:
    """Texts with a piece of something else put in, or taken out."""
    pieces = (
        some.sampled_from(HOSTILE) | some.sampled_from("-._:/@[]{}= \n\r\t\0A0") | some.characters()
    )

    def mangle(text: str, at: int, length: int, piece: str) -> str:
        at %= len(text) + 1
        return text[:at] + piece + text[at + length :]

    return some.builds(mangle, texts, some.integers(0, 300), some.integers(0, 3), pieces)


# Nonsense

HUGE, DEEP = "9" * 5000, "[" * 5000
PIECES = some.sampled_from(
    [
        "",
        "\n",
        " ",
        "\0",
        "\x1b[31m",
        "\r",
        "\udcff",
        "²",
        "٣",
        "-",
        "-1",
        "1e999",
        HUGE,
        DEEP,
        "x" * 70000,
        "\\ud800",
        '"',
        "\u2028",
        "None",
    ]
) | some.text(max_size=4)


@some.composite
def outputs(draw: some.DrawFn, *true: str) -> bytes:
    """What a host might say in place of one of its true answers."""
    text = draw(some.sampled_from(true))
    is_json = text.startswith(("{", "[{"))
    kind = draw(
        some.sampled_from(
            ("true", "bytes", "cut", "lines", "numbers", "pieces", *("json",) * 6 * is_json)
        )
    )
    if kind == "bytes":
        return draw(some.binary(max_size=40))
    if kind == "cut":
        return text.encode()[: draw(some.integers(0, len(text)))]
    if kind == "lines":
        lines = text.splitlines(keepends=True) or [""]
        return "".join(draw(some.lists(some.sampled_from(lines), max_size=2 * len(lines)))).encode()
    if kind == "numbers":
        digits = [index for index, character in enumerate(text) if character.isdigit()] or [0]
        at = draw(some.sampled_from(digits))
        return (text[:at] + draw(PIECES) + text[at + 1 :]).encode("utf-8", "surrogateescape")
    if kind == "pieces":
        at = draw(some.integers(0, len(text)))
        return (text[:at] + draw(PIECES) + text[at + draw(some.integers(0, 2)) :]).encode(
            "utf-8", "surrogateescape"
        )
    if kind == "json":
        return draw(documents(json.loads(text))).encode()
    return text.encode()


VALUES: some.SearchStrategy[object] = some.recursive(
    some.sampled_from(
        [
            None,
            True,
            False,
            0,
            -1,
            10**400,
            float("inf"),
            float("nan"),
            1.5,
            "",
            "x",
            "\ud800",
            "\x1b[31m\n",
            "²",
            "True",
            [],
            {},
            [[]],
            [None],
            ["x"],
            {"x": None},
            {"": [{}]},
        ]
    )
    | some.text(max_size=3),
    lambda inner: (
        some.lists(inner, max_size=2)
        | some.dictionaries(
            some.sampled_from(["items", "name", "digest", "text", "state", "x"]), inner, max_size=2
        )
    ),
    max_leaves=4,
)


@some.composite
def documents(draw: some.DrawFn, document: Any) -> str:
    """A document with up to three of its values gone, or of another kind."""
    document = json.loads(json.dumps(document))
    for _ in range(draw(some.sampled_from((1, 1, 2, 3)))):
        parent, key = draw(some.sampled_from(list(places(document)) or [(None, None)]))
        if parent is None:
            document = copy.deepcopy(draw(VALUES))
        elif isinstance(parent, dict) and draw(some.integers(0, 5)) == 0:
            del parent[key]
        else:
            # A copy, for the next change may be within it.
            parent[key] = copy.deepcopy(draw(VALUES | some.just("DEEP")))
    return json.dumps(document).replace(
        '"DEEP"', draw(some.sampled_from((DEEP + "]" * len(DEEP), HUGE)))
    )


def places(document: Any) -> Iterator[tuple[Any, Any]]:
    """(where a value stands, its key or index), of every value of a document but itself."""
    for key in (
        list(document)
        if isinstance(document, dict)
        else range(len(document))
        if isinstance(document, list)
        else ()
    ):
        yield document, key
        yield from places(document[key])


def keeps_its_word(read: Callable[[], object], promised: Any) -> None:
    """Facts of the promised type, or an error of ours whose every word can be printed."""
    try:
        found = read()
    except BreakglassError as error:
        for sentence in (error.message, error.state, *error.next_step.lines):
            assert sentence.isprintable(), sentence
        return
    assert not list(misfits(found, promised, "it"))


def misfits(value: object, promised: Any, path: str) -> Iterator[str]:
    """Where a value is not of the type that it is declared as."""
    origin, inner = typing.get_origin(promised), typing.get_args(promised)
    if promised is Any:
        return
    if origin is types.UnionType:
        if all(list(misfits(value, each, path)) for each in inner):
            yield f"{path} is {value!r:.80}, not {promised}"
    elif (
        dataclasses.is_dataclass(promised)
        and isinstance(promised, type)
        and isinstance(value, promised)
    ):
        kinds = typing.get_type_hints(promised)
        for field in dataclasses.fields(promised):
            yield from misfits(
                getattr(value, field.name), kinds[field.name], f"{path}.{field.name}"
            )
    elif origin in (tuple, list, frozenset, dict) and isinstance(value, origin):
        if origin is tuple and inner[-1:] != (...,):
            if len(inner) != len(typing.cast("tuple[object, ...]", value)):
                yield f"{path} has another length than {promised}"
            for index, (each, kind) in enumerate(
                zip(typing.cast("tuple[object, ...]", value), inner, strict=False)
            ):
                yield from misfits(each, kind, f"{path}[{index}]")
            return
        parts = (
            value.items()
            if isinstance(value, dict)
            else [(each,) for each in typing.cast("list[object]", value)]
        )
        for part in parts:
            for each, kind in zip(part, inner, strict=False):
                yield from misfits(each, kind, f"{path}[]")
    elif origin is not None or type(value) is not promised:
        yield f"{path} is {value!r:.80}, not {promised}"
