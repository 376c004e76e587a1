"""Pictures of rates, as bars, curves and over frequency, and the explorer of the step.

Notebook: ``07_compression``.
"""

from __future__ import annotations

from collections.abc import Mapping

import ipywidgets as widgets
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vaerecon.audio.samples import ArrayLike
from vaerecon.codec import LatentCodec
from vaerecon.codec.quantiser import N_STEPS, step_of
from vaerecon.lab.listening.explorer import sound_explorer
from vaerecon.lab.nb07_compression.bits import Coded, rate_curves, round_trip
from vaerecon.lab.tables import count
from vaerecon.lab.widgets import Explorer
from vaerecon.mel.config import AUDIOLDM_MEL
from vaerecon.mel.filters import mel_filters
from vaerecon.mel.front_end import log_mel
from vaerecon.metrics.scores import METRICS
from vaerecon.pipeline.pipeline import ReconstructionPipeline
from vaerecon.plots import new_axes, plot_mels

COLORS = {"latent": "#0173b2", "opus": "#de8f05", "mp3": "#949494", "vorbis": "#029e73"}


def plot_bars(rates: pd.Series, ax: Axes | None = None) -> tuple[Figure, Axes]:
    """A bar for each row, with its number: kbit/s."""
    figure, ax = new_axes(ax, (8, 0.5 * len(rates) + 1))
    bars = ax.barh(list(rates.index), rates.to_numpy(), color=COLORS["latent"])
    ax.bar_label(bars, fmt=" %.2f")
    ax.set(xlabel="kbit/s", xlim=(0, 1.15 * rates.max()))
    ax.invert_yaxis()  # the first on top
    return figure, ax


def plot_steps(table: pd.DataFrame, ax: Axes | None = None) -> tuple[Figure, Axes]:
    """Rate against error, and the error that is left without any rounding."""
    figure, ax = new_axes(ax, (8, 3.4))
    coded = table[table.index > 0]
    ax.plot(coded["kbit/s"], coded["error"], color=COLORS["latent"], marker="o")
    for step, row in coded.iterrows():
        ax.annotate(f"{step:g}", (row["kbit/s"], row["error"]), (4, 4), textcoords="offset points")
    ax.axhline(float(table["error"].loc[0]), color="#949494", linestyle="--", label="not rounded")
    ax.set(xlabel="kbit/s (beside each point: its step)", ylabel="error of the mel (nepers)")
    ax.set_ylim(0, 1.15 * coded["error"].max())
    ax.legend(frameon=False)
    return figure, ax


def plot_rate_distortion(
    table: pd.DataFrame, domains: Mapping[str, str], metrics: tuple[str, ...]
) -> tuple[Figure, np.ndarray]:
    """A column for each domain, a row for each metric, a curve for each codec: means over clips."""
    groups = dict(list(table.groupby(table["clip"].map(domains), sort=False)))
    figure = Figure(figsize=(4.6 * len(groups), 2.9 * len(metrics)), layout="constrained")
    axes = figure.subplots(len(metrics), len(groups), sharex=True, sharey="row", squeeze=False)
    for column, (domain, group) in enumerate(groups.items()):
        axes[0, column].set_title(f"{domain}, {count(group['clip'].nunique(), 'clip')}")
        axes[-1, column].set_xlabel("kbit/s")
        for row, metric in enumerate(metrics):
            _plot_codecs(axes[row, column], group, metric)
    for ax, metric in zip(axes[:, 0], metrics, strict=True):
        ax.set_ylabel(f"{METRICS[metric].label} {METRICS[metric].arrow}")
    axes[0, 0].legend(frameon=False, fontsize="small")
    return figure, axes


def _plot_codecs(ax: Axes, group: pd.DataFrame, metric: str) -> None:
    """One curve for each codec in a table of ``compare``; a dashed line for the latent as it is."""
    for codec, means in rate_curves(group, metric).items():
        ax.plot(means["kbps"], means[metric], marker="o", color=COLORS[codec], label=codec)
    uncoded = group.loc[group["method"] == "fast", metric].mean()
    dashed = {"color": COLORS["latent"], "linestyle": "--", "linewidth": 0.8}
    ax.axhline(uncoded, label="latent, not rounded", **dashed)
    ax.set_xscale("log")
    ax.set_xticks([2, 4, 8, 16, 32], ["2", "4", "8", "16", "32"])
    ax.minorticks_off()


def error_by_band(original: ArrayLike, sounds: Mapping[str, ArrayLike]) -> pd.DataFrame:
    """Mean absolute difference of the log-mels in each bin, nepers; index: Hz."""
    filters = mel_filters()  # [513, 64]: the middle of a bin is where its filter is largest
    middle = filters.argmax(dim=0) * AUDIOLDM_MEL.sample_rate / AUDIOLDM_MEL.n_fft
    mel = log_mel(original)
    columns = {
        name: (log_mel(torch.as_tensor(sound)) - mel).abs().mean(dim=0).numpy()
        for name, sound in sounds.items()
    }
    return pd.DataFrame(columns, index=pd.Index(middle.numpy(), name="Hz"))


def plot_bands(errors: pd.DataFrame, ax: Axes | None = None) -> tuple[Figure, Axes]:
    """Error of each codec over frequency."""
    figure, ax = new_axes(ax, (8, 3.4))
    for name in errors:
        color = COLORS[str(name).split(":")[0]]
        ax.plot(errors.index / 1000, errors[name], color=color, label=name)
    ax.set(xlabel="frequency (kHz)", ylabel="error of the log-mel (nepers)", ylim=(0, None))
    ax.legend(frameon=False)
    return figure, ax


def explore_step(
    pipe: ReconstructionPipeline, codec: LatentCodec, coded: Coded, method: str = "fast"
) -> Explorer:
    """A slider for the step: its rate, the mel that comes back, and its sound."""
    index = widgets.IntSlider(
        48, min=0, max=N_STEPS - 1, step=4, description="step", readout=False,
        continuous_update=False,
    )  # fmt: skip
    n, mel = len(coded.clip.samples), pipe.decode(coded.mean, len(coded.mel))

    def plot() -> Figure:
        step = step_of(index.value)
        rounded, kbps, error = round_trip(pipe, codec, coded, step)
        title = f"step {step:.2f}: {kbps:.2f} kbit/s, {error:.3f} nepers off"
        return plot_mels({"original": coded.mel, title: rounded})[0]

    def tracks() -> dict[str, ArrayLike]:
        rounded, kbps, _ = round_trip(pipe, codec, coded, step_of(index.value))
        mels = {"not rounded": mel, f"{kbps:.2f} kbit/s": rounded}
        sounds = {name: pipe.synthesize(x, method, n).cpu() for name, x in mels.items()}
        return {"original": coded.clip.samples} | sounds

    return sound_explorer([index], plot, tracks, coded.clip.name)
