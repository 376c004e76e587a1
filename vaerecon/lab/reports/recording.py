"""Metrics that a notebook records for whoever runs it headlessly.

``record`` shows the number and puts it, machine-readable, into the cell's output; the runner
collects all of them into the notebook's metadata and a JSON file beside it.
"""

from __future__ import annotations

import math
from typing import Any

RECORD_MIME = "application/vnd.vaerecon.record+json"


def record(name: str, value: float, unit: str = "") -> None:
    """Show a number and record it under ``name``.

    Parameters
    ----------
    name
        Letters, digits and underscores; unique in the notebook.
    value
        A finite number.
    unit
        For example ``"nepers"``, ``"dB"``; empty for a bare number.

    Raises
    ------
    ValueError
        If the name is no identifier or the value is not finite.
    """
    from IPython.display import display

    number = float(value)
    if not name.isidentifier():
        raise ValueError(f"record: got the name {name!r}, expected letters, digits, underscores")
    if not math.isfinite(number):
        raise ValueError(f"record: got {name} = {number}, expected a finite number")
    entry = {"name": name, "value": number, "unit": unit}
    text = f"{name} = {number:.4g} {unit}".rstrip()
    display({RECORD_MIME: entry, "text/plain": text}, raw=True)


def collect(cells: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Everything that the cells of an executed notebook recorded, by name, in order.

    Raises
    ------
    ValueError
        If a name was recorded twice.
    """
    found: dict[str, dict[str, Any]] = {}
    for cell in cells:
        for output in cell.get("outputs", []):
            entry = output.get("data", {}).get(RECORD_MIME)
            if entry is None:
                continue
            if entry["name"] in found:
                raise ValueError(f"record: {entry['name']!r} was recorded twice; names are unique")
            found[entry["name"]] = {"value": entry["value"], "unit": entry["unit"]}
    return found
