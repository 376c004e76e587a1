"""Plots for ``01_mel_analysis``: tensors and tables in, ``(figure, axes)`` out."""

import math

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vaerecon.audio.samples import ArrayLike, as_samples
from vaerecon.lab.figures import BLUE, GREY, ORANGE, PICTURE, panels
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
    low = -SPECTRUM_RANGE
    image = ax.imshow(level.T.numpy(), LEVEL_MAP, vmin=low, vmax=0, extent=extent, **PICTURE)
    ax.set(xlabel="time (s)", ylabel="frequency (kHz)", title=title)
    figure.colorbar(image, ax=ax, label="level (dB)", pad=0.01)
    return figure, ax


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
        values = table[column]
        texts = ["no value" if np.isnan(v) else f"{v:.2f}" for v in values]
        ax.bar_label(ax.barh(labels, values.fillna(0), color=colors), texts, padding=3, fontsize=9)
        ax.margins(x=0.38)  # room for the numbers beside the bars
        ax.axvline(0, color="black", linewidth=0.8)
        title = METRICS[column].heading if column in METRICS else AGREEMENT[column]
        ax.set_title(title, fontsize=10)
    axes[0, 0].invert_yaxis()  # first row on top
    return figure, axes


def plot_settings(mel: torch.Tensor, config: MelConfig, title: str) -> tuple[Figure, np.ndarray]:
    """The explorer's plot: filters, and their log-mel ``[T, M]``. Without slow layout engine."""
    figure = Figure(figsize=(9.5, 4.6))
    figure.subplots_adjust(left=0.08, right=0.97, bottom=0.11, top=0.93, hspace=0.55)
    axes = figure.subplots(2, 1, height_ratios=(1, 2.4))
    nyquist = config.sample_rate / 2
    axes[0].set_prop_cycle(color=[BLUE, ORANGE])
    weights = mel_filters(config, "cpu")
    axes[0].plot(np.linspace(0, nyquist, len(weights)), weights, linewidth=0.8)
    axes[0].set(xlim=(0, nyquist), ylim=(0, None), yticks=[], title=title)
    axes[0].set(xlabel="frequency (Hz)", ylabel="weight")
    limits = (float(mel.max()) - RANGE_NEPERS, float(mel.max()))
    plot_log_mel(mel, axes[1], limits=limits, colorbar=False, config=config)
    return figure, axes
