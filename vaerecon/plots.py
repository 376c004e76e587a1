"""Plots as pure functions: tensors in, ``(figure, axes)`` out, drawn on ``ax`` if one is given.

Time is in seconds, frequency in Hz on the mel scale, level in nepers (natural logarithm of
magnitude; 1 neper is 8.69 dB). Panels that are compared share their colour limits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from matplotlib.figure import Figure

from vaerecon.audio.samples import ArrayLike
from vaerecon.mel.config import AUDIOLDM_MEL, MelConfig
from vaerecon.mel.front_end import check_log_mel
from vaerecon.metrics.scores import METRICS

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from matplotlib.axes import Axes


LEVEL_MAP = "magma"  # perceptually uniform; for log-mels
DIFFERENCE_MAP = "RdBu_r"  # diverging around white = no difference
TICKS_HZ = (125, 500, 1000, 2000, 4000, 7000)
# one colour a method everywhere (seaborn's colourblind palette); grey for what is only compared
METHOD_COLORS = {
    "vocoder": "#0173b2",
    "fast": "#6a3d9a",
    "griffinlim": "#de8f05",
    "hybrid": "#029e73",
    "admm": "#d55e00",
    "librosa": "#cc78bc",
    "silence": "#949494",
    "oracle_phase": "#56b4e9",
    "oracle_magnitude": "#ca9161",
    "original": "#000000",
}
RANGE_NEPERS = 9.0  # nepers shown below the loudest value (78 dB)


def new_axes(ax: Axes | None, size: tuple[float, float]) -> tuple[Figure, Axes]:
    """``ax`` and its figure; without one, a new figure of ``size`` inches with one axes."""
    if ax is not None:
        return cast("Figure", ax.figure), ax
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots()


def mel_bin(hz: ArrayLike | Sequence[int], config: MelConfig = AUDIOLDM_MEL) -> np.ndarray:
    """Fractional mel bin of a frequency in Hz, for axis ticks."""
    from librosa import mel_frequencies

    centres = mel_frequencies(config.n_mels + 2, fmin=config.fmin, fmax=config.fmax)[1:-1]
    bins: np.ndarray = np.interp(np.asarray(hz), centres, np.arange(config.n_mels))
    return bins


def plot_log_mel(
    mel: ArrayLike,
    ax: Axes | None = None,
    *,
    title: str = "",
    limits: tuple[float, float] | None = None,
    difference: bool = False,
    config: MelConfig = AUDIOLDM_MEL,
) -> tuple[Figure, Axes]:
    """Draw a log-mel (or a difference of two) as a picture.

    Parameters
    ----------
    mel
        ``[T, 64]``, nepers.
    limits
        Lowest and highest value of the colour scale; by default the loudest value and 9 nepers
        below it, or the largest difference to both sides.
    difference
        Use a diverging map around zero.
    """
    values = check_log_mel(mel, config).cpu().numpy()
    figure, ax = new_axes(ax, (9, 2.6))
    if limits is None:
        top = max(float(np.abs(values).max()), 1e-3)
        limits = (-top, top) if difference else level_limits(values.max(), config)
    image = ax.imshow(
        values.T,  # [T, 64] -> [64, T]: a picture has frequency upwards
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        extent=(0, len(values) / config.frames_per_second, -0.5, config.n_mels - 0.5),
        cmap=DIFFERENCE_MAP if difference else LEVEL_MAP,
        vmin=limits[0],
        vmax=limits[1],
    )
    ticks = [hz for hz in TICKS_HZ if config.fmin <= hz <= config.fmax]
    ax.set_yticks(mel_bin(ticks, config), [f"{hz}" for hz in ticks])
    ax.set(xlabel="time (s)", ylabel="frequency (Hz)", title=title)
    unit = "difference (nepers)" if difference else "level (nepers)"
    figure.colorbar(image, ax=ax, label=unit, pad=0.01)
    return figure, ax


def level_limits(loudest: float, config: MelConfig = AUDIOLDM_MEL) -> tuple[float, float]:
    """Colour limits for levels up to ``loudest`` (nepers): 9 nepers, and none below the floor.

    Silence, which is at the floor, gets the darkest colour, not that of the loudest.
    """
    lowest = max(float(loudest) - RANGE_NEPERS, config.log_floor)
    return lowest, max(float(loudest), lowest + RANGE_NEPERS)


def plot_reconstruction(
    mel: torch.Tensor,
    mel_decoded: torch.Tensor,
    heard: Mapping[str, torch.Tensor],
    *,
    name: str = "clip",
    model: str = "",
) -> tuple[Figure, np.ndarray]:
    """A clip's log-mel, what the VAE made of it, their difference, and what was made of that.

    The panels of one kind share their colour limits.

    Parameters
    ----------
    mel, mel_decoded
        ``[T, 64]``, nepers: of the clip, and as the VAE returned it.
    heard
        Title to log-mel ``[T, 64]`` of each reconstructed sound, at the level of the original.
    name, model
        For the titles.
    """
    figure = Figure(figsize=(11, 2.3 * (3 + len(heard))), layout="constrained")
    axes = figure.subplots(3 + len(heard), 1, sharex=True)
    top = float(mel.max())
    limits = level_limits(top)
    difference = mel_decoded - mel
    silent = " (silent)" if top < AUDIOLDM_MEL.log_floor + 1e-3 else ""  # all at the floor
    plot_log_mel(mel, axes[0], title=f"{name}: original{silent}", limits=limits)
    plot_log_mel(mel_decoded, axes[1], title=f"after the VAE ({model})", limits=limits)
    plot_log_mel(
        difference,
        axes[2],
        title=f"VAE minus original: mean absolute difference {difference.abs().mean():.2f} nepers",
        limits=(-2, 2),
        difference=True,
    )
    for ax, (title, sound) in zip(axes[3:], heard.items(), strict=True):
        plot_log_mel(sound, ax, title=title, limits=limits)
    for ax in axes[:-1]:
        ax.set_xlabel("")
    return figure, axes


def plot_front(
    means: pd.DataFrame, front: pd.DataFrame, metric: str = "pesq_wb", ax: Axes | None = None
) -> tuple[Figure, Axes]:
    """Values per second against a metric: every setting of a sweep, and the front of the best.

    Parameters
    ----------
    means, front
        Of :func:`vaerecon.comparison.grid.mean_settings` and ``pareto_front``.
    """
    figure, ax = new_axes(ax, (9, 4.4))
    ax.scatter(means["values_per_second"], means[metric], s=22, color=METHOD_COLORS["silence"])
    color = METHOD_COLORS["griffinlim"]
    ax.plot(front["values_per_second"], front[metric], "o-", color=color, label="front")
    for i, row in enumerate(front.to_dict("records")):
        place = (row["values_per_second"], row[metric])
        side, offset = ("left", (5, -11)) if i % 2 else ("right", (-5, 5))  # of the line
        ax.annotate(row["setting"], place, offset, textcoords="offset points", ha=side, fontsize=8)
    own = means[means["setting"] == "AudioLDM2"]
    ax.plot(own["values_per_second"], own[metric], "*", ms=11, color=METHOD_COLORS["vocoder"],
            label="AudioLDM2")  # fmt: skip
    ax.set(xlabel="values per second", ylabel=METRICS[metric].heading)
    ax.margins(x=0.18)
    ax.legend(loc="lower right")
    return figure, ax


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, 110 dots per inch."""
    figure.savefig(path, dpi=110)
