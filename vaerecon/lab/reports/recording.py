"""Numbers that a notebook records, and the result of a run, which has them.

:func:`record` displays a number and puts it, machine-readable, into the cell's output; a headless
run collects them into the notebook's metadata and a JSON file beside it. Kernels import this module
in every run, so it imports little.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vaerecon.utils.versions import installed_versions

if TYPE_CHECKING:
    from nbformat import NotebookNode

RECORD_MIME = "application/vnd.vaerecon.record+json"
MACHINE_MIME = "application/vnd.vaerecon.machine+json"
LIBRARIES = ("vaerecon", "torch", "diffusers", "transformers", "librosa", "numpy", "pesq", "pystoi",
             "visqol-python", "papermill")  # fmt: skip


def record(name: str, value: float, unit: str = "") -> None:
    """Show a finite number and record it under ``name``, an identifier unique in the notebook.

    ``unit`` is for example ``"nepers"``; empty for a number without one. A name or value of another
    kind is a ValueError.
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


def show_machine() -> None:
    """Put versions and device into a cell's output: the last cell of a run."""
    from IPython.display import display

    device = "cpu"
    torch = sys.modules.get("torch")  # a notebook that did without has used no other device
    if torch is not None and torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    elif torch is not None and torch.backends.mps.is_available():
        device = "mps"
    display({MACHINE_MIME: {"device": device, "versions": installed_versions(LIBRARIES)}}, raw=True)


def collect(cells: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """All recorded numbers of an executed notebook, by name, in order; a name must be unique."""
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


@dataclass(frozen=True)
class Run:
    """The executed notebook, its provenance, and the failure if there was one."""

    name: str  # of the notebook, without .ipynb
    notebook: NotebookNode  # as executed, without widgets and paths; stamped
    stamp: dict[str, Any]  # source, parameters, versions, device, records
    failure: str | None  # one line; None if every cell ran

    @property
    def records(self) -> dict[str, dict[str, Any]]:
        """Name to ``{"value", "unit"}`` of the recorded numbers, in order."""
        return self.stamp["records"]


class NotebookError(RuntimeError):
    """A notebook did not run to its end; ``run`` is its partial result."""

    def __init__(self, message: str, run: Run):
        super().__init__(message)
        self.run = run
