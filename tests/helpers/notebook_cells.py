"""Runs of those cells of a notebook that one question needs, in this process.

Which cells these are is read from the names that they use. Where that misses something, a cell
stops with a NameError or a number stays as it is: both fail a test.
"""

from __future__ import annotations

import ast
import dis
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from vaerecon.lab.reports.runs import read_notebook, tags


class Cell(NamedTuple):
    """A code cell."""

    code: CodeType
    reads: frozenset[str]  # names that it needs from the cells before it
    writes: frozenset[str]  # names that it sets, or whose values it changes
    acts: bool  # by a function of the notebook's own whose result it does not use: writes files
    records: bool  # numbers
    declares: bool  # the parameters


def read_cells(path: Path) -> list[Cell]:
    """The code cells of a notebook."""
    _, notebook = read_notebook(path)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    own = set(re.findall(r"^def (\w+)", "\n".join(cell.source for cell in cells), re.MULTILINE))
    return [_cell(cell.source, "parameters" in tags(cell), own) for cell in cells]


def _cell(source: str, declares: bool, own: set[str]) -> Cell:
    tree = ast.parse(source)
    code = compile(tree, source.partition("\n")[0], "exec")
    reads, writes = set(), set()
    for step in dis.get_instructions(code):  # in the order in which they run
        if step.opname == "STORE_NAME":
            writes.add(step.argval)
        elif step.opname == "LOAD_NAME" and step.argval not in writes:
            reads.add(step.argval)
    for inner in _functions(code):
        steps = [step for step in dis.get_instructions(inner) if step.opname == "LOAD_GLOBAL"]
        reads |= {step.argval for step in steps} - writes
    for node in ast.walk(tree):  # x[i] = y and x.name = y change x
        if isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store):
            writes |= {part.id for part in ast.walk(node.value) if isinstance(part, ast.Name)}
    calls = [
        x.value.func
        for x in ast.walk(tree)
        if isinstance(x, ast.Expr) and isinstance(x.value, ast.Call)
    ]
    acts = any(isinstance(call, ast.Name) and call.id in own for call in calls)
    names = (frozenset(reads), frozenset(writes))
    return Cell(code, *names, acts, bool(re.search(r"\brecord(_all)?\(", source)), declares)


def _functions(code: CodeType) -> Iterator[CodeType]:
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield inner
            yield from _functions(inner)


def needed_for(cells: list[Cell], parameter: str) -> tuple[Cell, ...]:
    """The cells that record numbers which ``parameter`` can move, and all that these need."""
    moved, wanted = {parameter}, []
    for cell in cells:
        if cell.declares:
            continue
        if cell.reads & moved:
            moved |= cell.writes
            wanted += [cell] if cell.records else []
        else:
            moved -= cell.writes
    needed: set[str] = set()
    kept = []
    for cell in reversed(cells):
        if cell in wanted or cell.declares or cell.acts or cell.writes & needed:
            kept.append(cell)
            needed = (needed - cell.writes) | cell.reads
    return tuple(kept[::-1])


def run_cells(cells: Iterable[Cell], parameters: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Run cells; each recorded number when its cell has ended. No sounds and figures are shown."""
    found: list[tuple[str, float]] = []
    values: dict[str, Any] = {"__name__": "__main__"}
    instead = {
        "record": lambda name, value, unit="": found.append((name, float(value))),
        "record_all": lambda values, unit, names: found.extend(
            (names.format(key), float(value)) for key, value in values.items()
        ),
        "show": lambda figure: None,
        "play": lambda tracks, *args, **options: None,
    }
    gradients = True
    for cell in cells:
        torch.manual_seed(0)  # what has no generator of its own draws the same in each run
        np.random.seed(0)  # noqa: NPY002
        # notebook 03 sets both, for its own cells
        with torch.set_grad_enabled(gradients), pd.option_context("display.max_colwidth", 50):
            exec(cell.code, values)  # noqa: S102 (cells of the notebooks in this repository)
            gradients = torch.is_grad_enabled()
        values |= instead
        if cell.declares:
            values |= parameters
        yield from found
        found.clear()
