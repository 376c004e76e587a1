"""Subpackages in the order of the flow, and imports that only go down."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "vaerecon"
# From the lowest up; those in one row do not import each other.
ORDER = (
    ("utils", "bundled"),
    ("audio",),
    ("mel",),
    ("phase", "metrics"),
    ("models",),
    ("methods",),
    ("plots", "training"),
    ("pipeline",),
    ("codec", "streaming"),
    ("comparison",),
    ("lab",),
    ("cli",),
)
LEVEL = {name: level for level, row in enumerate(ORDER) for name in row}
TOP = {"__init__", "__main__"}  # the public names, and `python -m vaerecon`


def module_name(path: Path) -> str:
    """Dotted name of a file of the package."""
    parts = ("vaerecon", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported(name: str) -> set[str]:
    """The modules of the package that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = name.split(".")
            if "__init__" not in MODULES[name].name:
                parts = parts[:-1]
            base = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            base = ".".join(part for part in (base, node.module) if part)
            for alias in node.names:
                full = f"{base}.{alias.name}"
                found.add(full if full in MODULES else base)
    return found & set(MODULES) - {name}


def subpackage(name: str) -> str:
    """The first part of a module's name below the package."""
    return name.split(".")[1] if "." in name else "__init__"


GRAPH = {name: imported(name) for name in MODULES}


@pytest.mark.parametrize("name", [n for n in MODULES if subpackage(n) not in TOP])
def test_a_module_imports_only_what_stands_below_it(name):
    wrong = {
        other
        for other in GRAPH[name]
        if subpackage(other) != subpackage(name)
        and subpackage(other) not in TOP
        and LEVEL[subpackage(other)] >= LEVEL[subpackage(name)]
    }
    assert not wrong, f"{name} imports {wrong}, which stand above it or beside it"


def test_there_is_no_circle():
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join([*above[above.index(name) :], name])
        if name not in done:
            for other in sorted(GRAPH[name]):
                visit(other, (*above, name))
            done.add(name)

    for name in MODULES:
        visit(name, ())


def test_every_subpackage_says_what_it_is_for():
    for name, path in MODULES.items():
        if path.name == "__init__.py":
            assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), name


def test_no_module_has_the_name_of_a_function_that_its_package_exports():
    for name, path in MODULES.items():
        if path.name != "__init__.py":
            continue
        inside = [other for other in MODULES if other.rpartition(".")[0] == name]
        modules = {other.rpartition(".")[2] for other in inside}
        exported = {
            word.value
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.List)
            for word in node.elts
            if isinstance(word, ast.Constant) and isinstance(word.value, str)
        }
        # vr.metrics and vr.methods are the modules themselves
        assert not exported & modules - {"methods", "metrics"}, name
