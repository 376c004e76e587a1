"""Pictures of latency: its budget as a bar, quality against it, errors as bars.

Notebook: ``08_real_time``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from vaerecon.metrics.scores import METRICS
from vaerecon.plots import new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = {"around": "#0173b2", "through": "#de8f05"}
STAGES = ("#0173b2", "#de8f05", "#029e73", "#cc78bc", "#949494", "#ca9161")


def plot_budget(
    budgets: Mapping[str, Mapping[str, float]], ax: Axes | None = None
) -> tuple[Figure, Axes]:
    """A bar for each stream, a piece for each stage: seconds in, milliseconds shown."""
    figure, ax = new_axes(ax, (8, 0.7 * len(budgets) + 1.4))
    names = list(dict.fromkeys(stage for budget in budgets.values() for stage in budget))
    for row, budget in enumerate(budgets.values()):
        left = 0.0
        for stage, seconds in budget.items():
            color, width = STAGES[names.index(stage) % len(STAGES)], 1000 * seconds
            ax.barh(row, width, left=left, color=color, edgecolor="white")
            ax.text(left + width / 2, row, f"{stage}\n{width:.0f}", ha="center", va="center",
                    color="white", fontsize="small")  # fmt: skip
            left += width
        ax.text(left, row, f" {left:.0f} ms", va="center")
    ax.set_yticks(range(len(budgets)), list(budgets))
    most = max(sum(budget.values()) for budget in budgets.values())
    ax.set(xlabel="latency (ms)", xlim=(0, 1150 * most))
    ax.invert_yaxis()
    return figure, ax


def plot_latency(
    table: pd.DataFrame, whole: Mapping[str, Mapping[str, float | None]], metrics: tuple[str, ...]
) -> tuple[Figure, np.ndarray]:
    """A panel for each metric: streams at their latency, the whole clip as a dashed line."""
    figure = Figure(figsize=(4.6 * len(metrics), 3.2), layout="constrained")
    axes = figure.subplots(1, len(metrics), squeeze=False)[0]
    for ax, metric in zip(axes, metrics, strict=True):
        for way, rows in table.groupby("way"):
            color = COLORS[str(way)]
            ax.plot(1000 * rows["latency"], rows[metric], "o-", color=color, label=f"{way} the VAE")
            ax.axhline(whole[str(way)][metric], color=color, linestyle="--", linewidth=0.8)
        arrow = "↑" if METRICS[metric].best == "higher" else "↓"
        label = f"{METRICS[metric].label} ({METRICS[metric].unit})".removesuffix(" ()")
        ax.set(xlabel="latency (ms)", ylabel=f"{label} {arrow}")
    axes[0].legend(frameon=False, fontsize="small")
    return figure, axes


def plot_errors(errors: pd.Series, ax: Axes | None = None) -> tuple[Figure, Axes]:
    """A bar for each error, with its number: nepers."""
    figure, ax = new_axes(ax, (8, 0.45 * len(errors) + 1))
    own = ["own" in str(name) for name in errors.index]
    colors = [COLORS["around"] if one else COLORS["through"] for one in own]
    bars = ax.barh(list(errors.index), errors.to_numpy(), color=colors)
    ax.bar_label(bars, fmt=" %.3f")
    ax.set(xlabel="error of the mel (nepers)", xlim=(0, 1.15 * errors.max()))
    ax.invert_yaxis()
    return figure, ax
