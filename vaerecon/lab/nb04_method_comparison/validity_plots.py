"""Pictures of :mod:`vaerecon.lab.nb04_method_comparison.validity`.

Notebook: ``04_method_comparison``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from vaerecon.lab.nb04_method_comparison.plots import color_of
from vaerecon.lab.nb04_method_comparison.validity import snr_at_gains
from vaerecon.methods import METHODS
from vaerecon.metrics.scores import METRICS

if TYPE_CHECKING:
    import pandas as pd

    from vaerecon.pipeline.result import Reconstruction


def plot_snr_against_volume(result: Reconstruction) -> tuple[Figure, Any]:
    """What the SNR of each candidate, and of the oracle phase, does as its volume is turned."""
    figure = Figure(figsize=(8.5, 3.8), layout="constrained")
    ax = figure.subplots()
    gains = np.linspace(-40, 12, 27)
    names = [n for n in result.methods if not METHODS[n].reference_only]
    for name in [*names, "oracle_phase"]:
        snr = snr_at_gains(result.reference, result.methods[name].samples, gains)
        style = "--" if name == "oracle_phase" else "-"
        ax.plot(gains, snr, color=color_of(name), ls=style, lw=2, label=METHODS[name].label)
    ax.axhline(0, color=color_of("silence"), lw=1.5, label="Silence")
    ax.axvline(0, color="0.4", lw=0.8)
    ax.set(xlabel="volume turned by (dB)", ylabel=METRICS["snr_db"].heading, xlim=(-40, 12))
    ax.set_title(f"{result.clip.name}, through the VAE")
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    ax.grid(alpha=0.3)
    return figure, ax


def plot_rank_correlation(table: pd.DataFrame) -> tuple[Figure, Any]:
    """The heat map of :func:`vaerecon.lab.nb04_method_comparison.validity.rank_correlation`."""
    import seaborn as sns

    empty = table.isna().all(axis=None)
    figure = Figure(figsize=(7.6, 0.6 if empty else 6.2), layout="constrained")
    ax = figure.subplots()
    if empty:
        ax.text(0.5, 0.5, "too few methods to rank", ha="center", va="center")
        ax.set_axis_off()
        return figure, ax
    labels = [METRICS[str(m)].label for m in table]
    sns.heatmap(
        table.round(1) + 0.0, vmin=-1, vmax=1, cmap="RdBu_r", annot=True, fmt=".1f",
        annot_kws={"size": 9}, square=True, linewidths=0.5, xticklabels=labels,
        yticklabels=labels, ax=ax, cbar_kws={"label": "rank correlation", "shrink": 0.8},
    )  # fmt: skip
    ax.set(xlabel="", ylabel="")
    ax.tick_params(axis="x", rotation=40)
    for text in ax.get_xticklabels():
        text.set_horizontalalignment("right")
    return figure, ax
