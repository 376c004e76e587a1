"""The files of a training run: ``checkpoint.pt`` and ``curve.csv``."""

from __future__ import annotations

import csv
import os
import pickle
from pathlib import Path
from typing import Any

import torch

STATE = {"step", "steps", "seconds", "config", "model", "average", "optimizer"}


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Replace the checkpoint only when the new one is complete."""
    partial = path.with_suffix(".part")
    torch.save(state, partial)
    os.replace(partial, path)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The state in a checkpoint, read without running code; a ValueError for another file."""
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
        if not isinstance(state, dict) or not state.keys() >= STATE:
            raise ValueError("it was written by another program or version")
    except (RuntimeError, pickle.UnpicklingError, EOFError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise ValueError(
            f"{path.parent.name}/{path.name}: got no training checkpoint ({reason}); "
            "start again without --resume, in another folder"
        ) from None
    return state


def read_curve(path: Path) -> list[dict[str, float]]:
    """Rows of a ``curve.csv``, each with the columns that it has; none if there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as handle:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(handle)]


def write_curve(path: Path, rows: list[dict[str, float]]) -> None:
    """Write a ``curve.csv``; a column that only later rows have comes last."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    partial = path.with_suffix(".part")
    with partial.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, fieldnames=names, restval="")
        writer.writeheader()
        writer.writerows(row | {"step": int(row["step"])} for row in rows)
    os.replace(partial, path)
