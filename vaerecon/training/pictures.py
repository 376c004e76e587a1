"""What a checkpoint looks and sounds like: pictures of log-mels, wav files."""

from __future__ import annotations

from pathlib import Path

from vaerecon.audio.clip import write_wav
from vaerecon.training.parts.part import Sample


def write_samples(folder: Path, step: int, samples: list[Sample]) -> None:
    """Write ``crop<i>_original.wav`` once, and for this step ``crop<i>_<step>.wav`` and a picture.

    Parameters
    ----------
    folder
        Created if need be.
    step
        For the file names; of the same width, so that they sort.
    samples
        From :meth:`vaerecon.training.parts.part.Part.samples`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for index, sample in enumerate(samples):
        original = folder / f"crop{index}_original.wav"
        if not original.exists():
            write_wav(original, sample.samples.cpu())
        write_wav(folder / f"crop{index}_{step:07d}.wav", sample.samples_made.cpu())
    figure = draw_samples(samples)
    figure.savefig(folder / f"step_{step:07d}.png", dpi=80)


def draw_samples(samples: list[Sample]):
    """A figure: a row for each sample, its log-mel and the made one in the same colours."""
    from matplotlib.figure import Figure  # not pyplot: nothing to show, nothing to close

    figure = Figure(figsize=(10, 2.4 * len(samples)), layout="constrained")
    rows = figure.subplots(len(samples), 2, squeeze=False, sharex=True, sharey=True)
    for row, sample in zip(rows, samples, strict=True):
        low, high = float(sample.mel.min()), float(sample.mel.max())
        for axis, mel, title in zip(
            row, (sample.mel, sample.mel_made), ("original", "made"), strict=True
        ):
            picture = axis.imshow(
                # [T, 64] -> [64, T]: time goes to the right
                mel.cpu().numpy().T,
                origin="lower",
                aspect="auto",
                extent=(0, len(mel) / 100, 0, mel.shape[1]),
                vmin=low,
                vmax=high,
                cmap="magma",
            )
            axis.set(title=title, xlabel="time / s")
        row[0].set_ylabel("mel bin")
        figure.colorbar(picture, ax=row, label="log-mel / nepers")
    return figure
