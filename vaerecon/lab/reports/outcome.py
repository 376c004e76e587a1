"""What came of one notebook: the executed cells, what made them, and why it stopped, if it did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbformat import NotebookNode


@dataclass(frozen=True)
class Run:
    """What came of one notebook."""

    name: str  # the notebook's, without .ipynb
    notebook: NotebookNode  # as executed, without widgets and paths; stamped
    stamp: dict[str, Any]  # what made it: source, parameters, versions, device, records
    failure: str | None  # one line; None if every cell ran

    @property
    def records(self) -> dict[str, dict[str, Any]]:
        """Name to ``{"value", "unit"}`` of what the notebook recorded, in order."""
        return self.stamp["records"]


class NotebookError(RuntimeError):
    """A notebook did not run to its end; ``run`` holds what it did."""

    def __init__(self, message: str, run: Run):
        super().__init__(message)
        self.run = run
