"""The ``parameters`` cell of a notebook: its declarations, and a check of given values.

papermill only warns about unknown parameters and reads the cell line by line, which misses some.
Here the cell is parsed as Python, and wrong values are refused before a kernel starts.
"""

import ast
import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

KINDS = {"int": "a whole number", "float": "a number", "str": "a text", "bool": "true or false"}


@dataclass(frozen=True)
class Parameter:
    """One line of the parameters cell."""

    name: str
    kind: str  # "int", "float", "str", "bool", "list", "list[str]", ...
    default: Any


def read_parameters(notebook: Mapping[str, Any], where: str) -> dict[str, Parameter]:
    """The parameters that a notebook's JSON declares, by name; none without such a cell.

    Two cells tagged ``parameters``, or a line that is not ``name: type = literal``, are a
    ValueError, in which ``where`` names the notebook.
    """
    cells = [c for c in notebook["cells"] if "parameters" in c["metadata"].get("tags", [])]
    if len(cells) > 1:
        raise ValueError(f"{where}: got {len(cells)} cells tagged 'parameters', expected one")
    try:
        # one text, or a list of lines
        lines = ast.parse("".join(cells[0]["source"])).body if cells else []
    except SyntaxError as error:
        raise ValueError(f"{where}, parameters cell: no Python ({error.msg}); mend it") from None
    found = {}
    for line in lines:
        parameter = _read_line(line)
        if parameter is None:
            raise ValueError(
                f"{where}, parameters cell: got {ast.unparse(line)!r}, expected "
                "'name: type = value', the type int, float, str, bool or list and the value a "
                "literal of that type; move anything else to another cell"
            )
        found[parameter.name] = parameter
    return found


def check_parameters(
    declared: Mapping[str, Parameter], given: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """The given values, an int for a float converted; a ValueError for another name or type."""
    checked = {}
    for name, value in given.items():
        if name not in declared:
            near = difflib.get_close_matches(name, declared, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            known = ", ".join(declared) or "none"
            raise ValueError(f"{where}: got the parameter {name!r}, expected one of {known}{hint}")
        kind = declared[name].kind
        if kind == "float" and type(value) is int:
            value = float(value)
        if not _fits(value, kind):
            expected = KINDS.get(kind, f"a {kind}")
            raise ValueError(f"{where}: got {name} = {value!r}, expected {expected}")
        checked[name] = value
    return checked


def _read_line(line: ast.stmt) -> Parameter | None:
    if not (isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.value):
        return None
    kind = ast.unparse(line.annotation)
    try:
        default: Any = ast.literal_eval(line.value)
    except ValueError:
        return None
    if kind == "float" and type(default) is int:
        default = float(default)
    return Parameter(line.target.id, kind, default) if _fits(default, kind) else None


def _fits(value: Any, kind: str) -> bool:
    if kind in KINDS:  # type() and not isinstance: True is an int to isinstance
        return type(value).__name__ == kind and (kind != "float" or math.isfinite(value))
    if kind == "list":
        return type(value) is list and all(_fits(v, type(v).__name__) for v in value)
    item = kind.removeprefix("list[").removesuffix("]")
    return kind == f"list[{item}]" and type(value) is list and all(_fits(v, item) for v in value)
