"""Samples at a checkpoint: pictures of log-mels, wav files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vaerecon.audio.clip import write_wav
from vaerecon.training.parts.part import Sample

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_samples(folder: Path, step: int, samples: list[Sample]) -> None:
    """Write ``crop<i>_original.wav`` once, and for this step ``crop<i>_<step>.wav`` and a picture.

    ``folder`` is created if need be; ``samples`` are those of
    :meth:`vaerecon.training.parts.part.Part.samples`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for index, sample in enumerate(samples):
        original = folder / f"crop{index}_original.wav"
        if not original.exists():
            write_wav(original, sample.samples.cpu())
        write_wav(folder / f"crop{index}_{step:07d}.wav", sample.samples_made.cpu())
    draw_samples(samples).savefig(folder / f"step_{step:07d}.png", dpi=80)


def draw_samples(samples: list[Sample]) -> Figure:
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
