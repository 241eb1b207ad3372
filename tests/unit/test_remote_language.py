"""What runs on hosts is Python 3.8 and the standard library."""

import ast
import sys
from pathlib import Path

import pytest

REMOTE = Path(__file__).parents[2] / "src/breakglass/remote"

LATER_THAN_3_8 = {
    "removeprefix",
    "removesuffix",
    "is_relative_to",
    "hardlink_to",
    "with_stem",
    "to_thread",
    "pairwise",
    "batched",
    "walk_packages",
    "TaskGroup",
    "timeout_at",
}


BUILT_IN = {"list", "dict", "tuple", "set", "frozenset", "type"}


@pytest.mark.parametrize("script", sorted(REMOTE.rglob("*.py")), ids=str)
def test_every_script_for_other_hosts_is_python_3_8_and_imports_only_the_standard_library(
    script: Path,
) -> None:
    tree = ast.parse(script.read_text(), feature_version=(3, 8))
    annotations = {
        id(inner)
        for node in ast.walk(tree)
        for part in ("annotation", "returns")
        if getattr(node, part, None)
        for inner in ast.walk(getattr(node, part))
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            assert node.attr not in LATER_THAN_3_8, f"{script.name}:{node.lineno}: {node.attr}"
        if (
            isinstance(node, ast.Subscript)
            and isinstance(node.value, ast.Name)
            and id(node) not in annotations
        ):
            assert node.value.id not in BUILT_IN, (
                f"{script.name}:{node.lineno}: {node.value.id}[...] outside of an annotation"
            )
        names = (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
        others = [name for name in names if not f"{name}.".startswith("breakglass.remote.")]
        assert {name.partition(".")[0] for name in others} <= sys.stdlib_module_names, (
            f"{script.name}: {names}"
        )
