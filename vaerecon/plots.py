"""Plots as pure functions that take tensors, draw on ``ax`` if given, and return figure and axes.

Time is in seconds, frequency in Hz on the mel scale, level in nepers (natural logarithm of
magnitude; 1 neper is 8.69 dB). Panels that are compared share their colour limits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
TICKS_HZ = (250, 500, 1000, 2000, 4000, 7000)
# one colour per method, the same in all plots; any two differ by 15 or more (CIELAB), also for
# colour-deficient vision
METHOD_COLORS = {
    "fast": "#66348e",
    "griffinlim": "#ea9812",
    "vocoder": "#0075c3",
    "hybrid": "#009c66",
    "admm": "#d45c00",
    "librosa": "#c671b2",
    "silence": "#959595",
    "oracle_phase": "#53b2e8",
    "oracle_magnitude": "#d7a362",
    "original": "#000000",
}
RANGE_NEPERS = 9.0  # nepers shown below the loudest value (78 dB)


def new_axes(ax: Axes | None, size: tuple[float, float]) -> tuple[Figure, Axes]:
    """Return ``ax`` with its figure, or a new figure of ``size`` inches and its only axes."""
    if ax is not None:
        return cast("Figure", ax.figure), ax
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots()


def mel_bin(hz: ArrayLike | Sequence[int], config: MelConfig = AUDIOLDM_MEL) -> np.ndarray:
    """Return the fractional mel bin of a frequency in Hz, for axis ticks."""
    from librosa import mel_frequencies

    centres = mel_frequencies(config.n_mels + 2, fmin=config.fmin, fmax=config.fmax)[1:-1]
    bins: np.ndarray = np.interp(np.asarray(hz), centres, np.arange(config.n_mels))
    return bins


def plot_log_mel(
    mel: ArrayLike, ax: Axes | None = None, *, title: str = "",
    limits: tuple[float, float] | None = None, difference: bool = False, colorbar: bool = True,
    config: MelConfig = AUDIOLDM_MEL,
) -> tuple[Figure, Axes]:  # fmt: skip
    """Draw a log-mel ``[T, 64]`` (or a ``difference`` of two, around zero) as a picture.

    ``limits`` of the colour scale are by default :func:`level_limits`, or plus and minus
    :func:`difference_limit`. For several panels with one scale, draw one colour bar by
    :func:`add_colorbar`.
    """
    values = check_log_mel(mel, config).cpu().numpy()
    figure, ax = new_axes(ax, (9, 2.6))
    if limits is None:
        top = difference_limit([values]) if difference else 0.0
        limits = (-top, top) if difference else level_limits(values.max(), config)
    ax.imshow(
        values.T,  # [T, 64] -> [64, T]: frequency on the vertical axis
        origin="lower", aspect="auto", interpolation="nearest",
        extent=(0, len(values) / config.frames_per_second, -0.5, config.n_mels - 0.5),
        cmap=DIFFERENCE_MAP if difference else LEVEL_MAP, vmin=limits[0], vmax=limits[1],
    )  # fmt: skip
    ticks = [hz for hz in TICKS_HZ if config.fmin <= hz <= config.fmax]
    ax.set_yticks(mel_bin(ticks, config), [f"{hz}" for hz in ticks])
    ax.set(xlabel="time (s)", ylabel="frequency (Hz)", title=title)
    if colorbar:
        add_colorbar([ax], "difference (nepers)" if difference else "level (nepers)")
    return figure, ax


def add_colorbar(axes: Sequence[Axes], label: str) -> None:
    """Add one colour bar for images with one scale; arrows at its ends mark values beyond it."""
    images = [ax.images[0] for ax in axes]
    low, high = images[0].get_clim()
    values = [np.asarray(image.get_array()) for image in images]
    below, above = any(x.min() < low for x in values), any(x.max() > high for x in values)
    extend = "both" if below and above else "min" if below else "max" if above else "neither"
    cast("Figure", axes[0].figure).colorbar(
        images[0], ax=axes, label=label, pad=0.01, extend=extend,
        aspect=20 * len(axes), extendfrac=0.05 / len(axes),  # equally thick for any number
    )  # fmt: skip


def difference_limit(differences: Iterable[np.ndarray]) -> float:
    """Return a colour limit (nepers) within which 99.5 % of the differences lie."""
    values = np.concatenate([np.abs(x).ravel() for x in differences])
    return max(float(np.quantile(values, 0.995)), 1e-3)


def level_limits(loudest: float, config: MelConfig = AUDIOLDM_MEL) -> tuple[float, float]:
    """Return colour limits for levels up to ``loudest``: a range of 9 nepers, not below the floor.

    So silence, which is at the floor, has the darkest colour, not the brightest.
    """
    lowest = max(float(loudest) - RANGE_NEPERS, config.log_floor)
    return lowest, max(float(loudest), lowest + RANGE_NEPERS)


def plot_mels(
    mels: Mapping[str, torch.Tensor],
    limits: tuple[float, float] | None = None,
    differences: Mapping[str, torch.Tensor] | None = None,
) -> tuple[Figure, np.ndarray]:
    """Draw log-mels ``[T, 64]``, by title, below each other, then differences of log-mels.

    All share one time axis. The log-mels share the colour scale ``limits``, by default
    :func:`level_limits` of the first one; the differences share another scale.
    """
    changes = dict(differences or {})
    limits = limits or level_limits(float(next(iter(mels.values())).max()))
    top = difference_limit(x.cpu().numpy() for x in changes.values()) if changes else 0.0
    rows = len(mels) + len(changes)
    figure = Figure(figsize=(10, 2.1 * rows), layout="constrained")
    axes = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    for ax, (title, mel) in zip(axes, [*mels.items(), *changes.items()], strict=True):
        is_change = ax in axes[len(mels) :]
        scale = (-top, top) if is_change else limits
        plot_log_mel(mel, ax, title=title, limits=scale, difference=is_change, colorbar=False)
        ax.label_outer()
    add_colorbar(list(axes[: len(mels)]), "level (nepers)")
    if changes:
        add_colorbar(list(axes[len(mels) :]), "difference (nepers)")
    return figure, axes


def plot_reconstruction(
    mel: torch.Tensor,
    mel_decoded: torch.Tensor,
    heard: Mapping[str, torch.Tensor],
    *,
    name: str = "clip",
    model: str = "",
) -> tuple[Figure, np.ndarray]:
    """Draw the log-mels of a clip, of the VAE's output, of the resulting sounds, and the VAE error.

    All are ``[T, 64]``, nepers; ``heard`` are the log-mels of the reconstructed sounds, by title,
    at the level of the original.
    """
    # all values of silence are at the floor
    silent = " (silent)" if float(mel.max()) < AUDIOLDM_MEL.log_floor + 1e-3 else ""
    change = mel_decoded - mel
    title = f"VAE minus original: mean absolute difference {change.abs().mean():.2f} nepers"
    mels = {f"{name}: original{silent}": mel, f"after the VAE ({model})": mel_decoded, **heard}
    return plot_mels(mels, differences={title: change})


def plot_front(
    means: pd.DataFrame, front: pd.DataFrame, metric: str = "pesq_wb", ax: Axes | None = None
) -> tuple[Figure, Axes]:
    """Plot values per second against a metric: all settings of a sweep, and their Pareto front.

    ``means`` and ``front`` are results of :func:`vaerecon.comparison.grid.mean_settings` and
    ``pareto_front``.
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
    """Save a figure as PNG with 110 dots per inch."""
    figure.savefig(path, dpi=110)
