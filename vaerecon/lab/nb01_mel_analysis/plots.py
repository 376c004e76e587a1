"""Plots for ``01_mel_analysis``: tensors and tables in, ``(figure, axes)`` out."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from vaerecon.audio.samples import ArrayLike, as_samples
from vaerecon.lab.figures import BLUE, GREY, ORANGE, draw_picture, panels, stacked
from vaerecon.lab.nb01_mel_analysis.front_ends import NEPER_DB, AffineMap, filter_edges
from vaerecon.mel.config import AUDIOLDM_MEL, MelConfig
from vaerecon.mel.filters import mel_filters
from vaerecon.metrics.scores import METRICS
from vaerecon.plots import LEVEL_MAP, METHOD_COLORS, RANGE_NEPERS, new_axes, plot_log_mel

SPECTRUM_RANGE = 80.0  # dB shown below the loudest STFT bin
ROWS = {  # rows of a table of recoveries: label on the axis, colour
    "silence": ("silence", METHOD_COLORS["silence"]),
    "random_phase": ("mel, random phase", "#fbafe4"),
    "griffinlim": ("mel, Griffin-Lim", METHOD_COLORS["griffinlim"]),
    "oracle_phase": ("mel + true phase", METHOD_COLORS["oracle_phase"]),
    "oracle_magnitude": ("true magnitude,\nGriffin-Lim", METHOD_COLORS["oracle_magnitude"]),
}
AGREEMENT = {  # columns of that table that are no metrics: title of the panel
    "phase": "phase agreement\n1: all phases equal",
    "phase_advance": "phase advance agreement\n1: all steps equal",
}
SETTINGS = {  # of a sweep: label of the axis
    "n_mels": "mel bins",
    "n_fft": "window (samples)",
    "hop_length": "hop (samples)",
    "fmax": "highest frequency (Hz)",
}


def plot_waveform(samples: ArrayLike, *, title: str = "") -> tuple[Figure, Axes]:
    """Draw samples ``[N]`` at 16 kHz over time in seconds."""
    figure, ax = new_axes(None, (10, 2.0))
    x = as_samples(samples).cpu().numpy()
    ax.plot(np.arange(len(x)) / 16000, x, color="black", linewidth=0.4)
    limit = max(float(np.abs(x).max()) * 1.1, 1e-3)
    ax.set(xlim=(0, len(x) / 16000), ylim=(-limit, limit), title=title)
    ax.set(xlabel="time (s)", ylabel="amplitude")
    return figure, ax


def plot_spectrogram(
    magnitude: torch.Tensor, ax: Axes | None = None, *, title: str = "", top: float | None = None
) -> tuple[Figure, Axes]:
    """Draw STFT magnitudes ``[T, 513]`` in dB below ``top`` (by default the largest)."""
    figure, ax = new_axes(ax, (10, 2.8))
    top = max(float(magnitude.max()), 1e-12) if top is None else top
    level = 20 * (magnitude / top).clamp_min(1e-12).log10()
    extent = (0, len(level) / AUDIOLDM_MEL.frames_per_second, 0, 8)  # s, kHz
    # [T, bins] -> [bins, T]: a picture has frequency upwards
    image = draw_picture(ax, level.T.numpy(), extent, LEVEL_MAP, (-SPECTRUM_RANGE, 0))
    ax.set(xlabel="time (s)", ylabel="frequency (kHz)", title=title)
    figure.colorbar(image, ax=ax, label="level (dB)", pad=0.01)
    return figure, ax


def plot_filters() -> tuple[Figure, np.ndarray]:
    """The mel filters, and how wide each of them is."""
    figure, axes = stacked(2, 4.2)
    weights, nyquist = mel_filters(AUDIOLDM_MEL), AUDIOLDM_MEL.sample_rate / 2
    hz = np.linspace(0, nyquist, len(weights))
    for i, filter_ in enumerate(weights.T.numpy()):  # [513, 64] -> [64, 513]: one filter at a time
        axes[0].plot(hz, filter_, color=(BLUE, ORANGE)[i % 2], linewidth=0.9)
    axes[0].set(ylabel="weight", ylim=(0, None), title=f"{AUDIOLDM_MEL.n_mels} mel filters")
    edges = filter_edges()
    axes[1].plot(edges[1:-1], edges[2:] - edges[:-2], ".-", color="black", label="mel filter")
    spacing = AUDIOLDM_MEL.sample_rate / AUDIOLDM_MEL.n_fft
    axes[1].axhline(spacing, color=GREY, label="spacing of the STFT bins")
    axes[1].set(ylabel="width (Hz)", xlabel="frequency (Hz)", ylim=(0, None))
    axes[1].set(title="width of a filter between its zeros", xlim=(0, nyquist))
    axes[1].legend(loc="upper left")
    return figure, axes


def plot_front_ends(
    model: torch.Tensor, naive: torch.Tensor, fit: AffineMap
) -> tuple[Figure, np.ndarray]:
    """The model's log-mel ``[T, 64]``, the naive one, and the residual of the best affine map."""
    figure, axes = stacked(3, 7.2)
    plot_log_mel(model, axes[0], title="the model's log-mel")
    plot_log_mel(naive, axes[1], title="the naive one, as it is", limits=(0, 1))
    axes[1].images[0].colorbar.set_label("no unit (0..1)")
    title = f"naive, after the best affine map, minus model: {fit.residual:.2f} nepers on average"
    plot_log_mel(fit(naive) - model, axes[2], title=title, difference=True)
    for ax in axes:
        ax.label_outer()
    return figure, axes


def plot_affine_map(
    source: torch.Tensor, target: torch.Tensor, fit: AffineMap
) -> tuple[Figure, Axes]:
    """Every value of one log-mel against the same value of the other, with the line that fits."""
    figure, ax = new_axes(None, (6, 4.4))
    x, y = source.flatten().numpy(), target.flatten().numpy()
    image = ax.hexbin(x, y, gridsize=90, bins="log", mincnt=1, cmap="viridis")
    ends = torch.tensor([float(x.min()), float(x.max())])
    label = f"best line: slope {fit.slope:.2f}, offset {fit.offset:.2f}"
    ax.plot(ends.numpy(), fit(ends).numpy(), color="#d55e00", linewidth=2, label=label)
    ax.set(xlabel="naive value (0..1)", ylabel="the model's value (nepers)")
    ax.set_title(f"mean residual of the best line: {fit.residual:.2f} nepers")
    ax.legend(loc="upper left")
    figure.colorbar(image, ax=ax, label="mel values in a cell")
    return figure, ax


def plot_choices(table: pd.DataFrame) -> tuple[Figure, Axes]:
    """The residual of each choice after the best affine map; a table of ``compare_choices``."""
    figure, ax = new_axes(None, (9, 0.36 * len(table) + 1.1))
    left = table["after the best affine map (nepers)"]
    ax.bar_label(ax.barh(table.index, left, color=BLUE), fmt="%.3f", padding=3)
    ax.invert_yaxis()  # first row on top
    ax.set(xlabel="left after the best affine map (nepers)", xlim=(0, float(left.max()) * 1.12))
    units = (lambda nepers: nepers * NEPER_DB, lambda decibels: decibels / NEPER_DB)
    ax.secondary_xaxis("top", functions=units).set_xlabel("the same (dB)")
    ax.spines["right"].set_visible(False)
    return figure, ax


def plot_magnitudes(
    magnitudes: Mapping[str, torch.Tensor], seconds: tuple[float, float], kilohertz: float
) -> tuple[Figure, np.ndarray]:
    """A part of STFT magnitudes by title, below each other on the scale of the first one."""
    figure, axes = stacked(len(magnitudes), 2.4 * len(magnitudes))
    top = max(float(next(iter(magnitudes.values())).max()), 1e-12)
    for ax, (title, magnitude) in zip(axes, magnitudes.items(), strict=True):
        plot_spectrogram(magnitude, ax, title=title, top=top)
        ax.set(xlim=seconds, ylim=(0, kilohertz))
        ax.label_outer()
    return figure, axes


def plot_recoveries(
    table: pd.DataFrame, columns: tuple[str, ...] | None = None
) -> tuple[Figure, np.ndarray]:
    """A panel for each column of a table of ``score_recoveries`` (default: its metrics), with a bar
    for each row that has a value."""
    columns = columns or tuple(str(name) for name in table if name in METRICS)
    across, down = min(3, len(columns)), math.ceil(len(columns) / 3)
    size = (2.5 * across + 1.3, down * (0.42 * len(table) + 1.3))
    figure, axes = panels(len(columns), 3, size, sharey=True)
    labels, colors = zip(*(ROWS.get(name, (name, GREY)) for name in table.index), strict=True)
    for ax, column in zip(axes.flat, columns, strict=False):
        values = table[column].to_numpy()
        shown = np.nan_to_num(values)
        texts = ["no value" if np.isnan(v) else f"{v:.2f}" for v in values]
        ax.bar_label(ax.barh(labels, shown, color=colors), texts, padding=3, fontsize=9)
        low, high = min(0.0, float(shown.min())), max(0.0, float(shown.max()))
        span = high - low or 1.0  # room for the numbers beside the bars
        ax.set_xlim(low - 0.38 * span * (low < 0), high + 0.38 * span)
        ax.axvline(0, color="black", linewidth=0.8)
        title = METRICS[column].heading if column in METRICS else AGREEMENT[column]
        ax.set_title(title, fontsize=10)
    axes[0, 0].invert_yaxis()  # first row on top
    return figure, axes


def plot_iterations(curve: pd.DataFrame, ceiling: float) -> tuple[Figure, Axes]:
    """MR-STFT distance over iterations, from ``iteration_curve``, and the ceiling as a line."""
    figure, ax = new_axes(None, (8, 3.2))
    for column, style, color in zip(curve, ("o-", "s--"), (ORANGE, GREY), strict=True):
        ax.plot(curve.index.astype(str), curve[column], style, color=color, label=column)
    color = METHOD_COLORS["oracle_phase"]
    ax.axhline(ceiling, color=color, label=f"with the true phase: {ceiling:.2f}")
    ax.set(xlabel="Griffin-Lim iterations", ylabel="MR-STFT distance", ylim=(0, None))
    ax.legend()
    return figure, ax


def plot_sweeps(table: pd.DataFrame) -> tuple[Figure, np.ndarray]:
    """Small multiples of a table of ``sweep``: settings across, MR-STFT and ESTOI down."""
    groups = list(table.groupby("setting", sort=False))
    figure = Figure(figsize=(2.7 * len(groups), 5.2), layout="constrained")
    axes = figure.subplots(2, len(groups), sharex="col", sharey="row", squeeze=False)
    for column, (setting, rows) in enumerate(groups):
        places = [f"{value:g}" for value in rows["value"]]
        colors = [ORANGE if default else BLUE for default in rows["default"]]
        for ax, score in zip(axes[:, column], ("mrstft", "estoi"), strict=True):
            ax.plot(places, rows[score], color=GREY, zorder=1)
            ax.scatter(places, rows[score], color=colors, zorder=2)
            for place, value in rows[score].reset_index(drop=True).dropna().items():
                style = {"textcoords": "offset points", "ha": "center", "fontsize": 9}
                ax.annotate(f"{value:.2f}", (place, value), (0, 7), **style)
            ax.set_xlim(-0.5, len(rows) - 0.5)
            ax.set_ylabel(METRICS[score].heading if column == 0 else "")
        axes[1, column].set_xlabel(SETTINGS.get(str(setting), str(setting)))
    for row, score in zip(axes, ("mrstft", "estoi"), strict=True):
        top = table[score].max()  # NaN where no setting has a value, as ESTOI of a short clip
        row[0].set_ylim(0, 1.15 * top if top > 0 else 1.0)
        for ax in row if np.isnan(top) else ():
            ax.text(0.5, 0.5, "no value", transform=ax.transAxes, ha="center")
    figure.suptitle("orange: AudioLDM2's setting", fontsize=10)
    return figure, axes


def plot_settings(mel: torch.Tensor, config: MelConfig, title: str) -> tuple[Figure, np.ndarray]:
    """The explorer's plot: filters, and their log-mel ``[T, M]``. Without slow layout engine."""
    figure = Figure(figsize=(9.5, 4.6))
    figure.subplots_adjust(left=0.08, right=0.97, bottom=0.11, top=0.93, hspace=0.55)
    axes = figure.subplots(2, 1, height_ratios=(1, 2.4))
    edges, nyquist = filter_edges(config), config.sample_rate / 2
    triangles = np.stack([edges[:-2], edges[1:-1], edges[2:]], axis=1)
    # Slaney's filters have equal area: 2 / width high
    lines = [[(a, 0), (b, 2 / (c - a)), (c, 0)] for a, b, c in triangles]
    axes[0].add_collection(LineCollection(lines, colors=(BLUE, ORANGE), linewidths=0.8))
    highest = 2 / float((edges[2:] - edges[:-2]).min())
    axes[0].set(xlim=(0, nyquist), ylim=(0, 1.05 * highest), yticks=[], title=title)
    axes[0].set(xlabel="frequency (Hz)", ylabel="weight")
    limits = (float(mel.max()) - RANGE_NEPERS, float(mel.max()))
    plot_log_mel(mel, axes[1], limits=limits, colorbar=False, config=config)
    return figure, axes
