"""Result of one notebook run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nbformat import NotebookNode


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
