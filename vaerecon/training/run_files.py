"""The files of a training run: ``checkpoint.pt``, ``curve.csv`` and ``samples/``."""

from __future__ import annotations

import csv
import os
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vaerecon.audio.clip import write_wav

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vaerecon.training.parts.part import Sample

STATE = {"step", "steps", "seconds", "config", "model", "average", "optimizer"}


def run_folder(output: Path, part: str) -> Path:
    """Where the files of a part's training are."""
    return Path(output) / f"{part}_run"


def write_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Replace ``checkpoint.pt`` only when the new one is complete."""
    partial = folder / "checkpoint.part"
    torch.save(state, partial)
    os.replace(partial, folder / "checkpoint.pt")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The state in a checkpoint, read without running code; a ValueError for another file."""
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
        if not isinstance(state, dict) or not state.keys() >= STATE:
            raise ValueError("it was written by another program or version")
    except (RuntimeError, pickle.UnpicklingError, EOFError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise ValueError(f"{path.parent.name}/{path.name}: got no training checkpoint ({reason}); "
                         "start again without --resume, in another folder") from None  # fmt: skip
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


def write_samples(folder: Path, step: int, samples: list[Sample]) -> None:
    """Write ``crop<i>_original.wav`` once, and ``crop<i>_<step>.wav`` and a picture of a step."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, sample in enumerate(samples):
        original = folder / f"crop{index}_original.wav"
        if not original.exists():
            write_wav(original, sample.samples.cpu())
        write_wav(folder / f"crop{index}_{step:07d}.wav", sample.samples_made.cpu())
    _draw(samples).savefig(folder / f"step_{step:07d}.png", dpi=80)


def _draw(samples: list[Sample]) -> Figure:
    """A row for each sample: its log-mel and the generated one, on one colour scale."""
    from matplotlib.figure import Figure  # not pyplot: nothing to show, nothing to close

    figure = Figure(figsize=(10, 2.4 * len(samples)), layout="constrained")
    rows = figure.subplots(len(samples), 2, squeeze=False, sharex=True, sharey=True)
    for row, sample in zip(rows, samples, strict=True):
        scale = {"vmin": float(sample.mel.min()), "vmax": float(sample.mel.max()), "cmap": "magma"}
        for ax, mel, title in zip(row, sample[:2], ("original", "made"), strict=True):
            extent = (0, len(mel) / 100, 0, mel.shape[1])
            picture = mel.cpu().numpy().T  # [T, 64] -> [64, T]: time goes to the right
            image = ax.imshow(picture, origin="lower", aspect="auto", extent=extent, **scale)
            ax.set(title=title, xlabel="time / s")
        row[0].set_ylabel("mel bin")
        figure.colorbar(image, ax=row, label="log-mel / nepers")
    return figure
