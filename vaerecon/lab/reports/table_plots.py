"""Pictures of a table of many clips: distributions, means by group, paired differences.

Notebook: ``table_report.ipynb`` beside this file.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import matplotlib
import numpy as np

from vaerecon.lab.figures import draw_intervals, panels
from vaerecon.lab.nb04_method_comparison.plots import color_of
from vaerecon.lab.reports.table_scores import compared, metrics_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from vaerecon.comparison.intervals import Interval
    from vaerecon.metrics.scores import Metric

# the name of a folder, which stands on an axis, may hold two dollar signs
as_it_is = matplotlib.rc_context({"text.parse_math": False})


def _panels(metrics: list[Metric], rows: int, columns: int = 3) -> tuple[Figure, list[Axes]]:
    """An axes for each metric, with ``rows`` lines from top to bottom."""
    height = math.ceil(len(metrics) / columns) * (1.1 + 0.33 * rows)
    figure, axes = panels(len(metrics), columns, (11, height), sharey=True)
    return figure, list(axes.flat[: len(metrics)])


@as_it_is
def plot_distributions(rows: pd.DataFrame, limits: pd.DataFrame) -> tuple[Figure, list[Axes]]:
    """Every clip's score as a point over a box (quartiles), by metric and system.

    The axes reach over the values of ``limits``, so that two pictures compare.
    """
    import seaborn as sns

    systems = compared(rows)
    rows = rows[rows["system"].isin(systems)]
    metrics = [metric for metric in metrics_of(rows) if metric.overview]
    figure, axes = _panels(metrics, len(systems))
    colors = {name: color_of(method) for name, method in systems.items()}
    every = limits[limits["system"].isin(compared(limits))]
    for ax, metric in zip(axes, metrics, strict=True):
        shared = {"data": rows, "x": metric.name, "y": "system", "hue": "system", "palette": colors,
                  "order": list(systems), "legend": False, "ax": ax}  # fmt: skip
        sns.boxplot(**shared, showfliers=False, width=0.6, boxprops={"alpha": 0.35})
        sns.stripplot(**shared, size=4, alpha=0.6, jitter=0.15)
        low, high = every[metric.name].min(), every[metric.name].max()
        room = max(0.05 * (high - low), (metric.span - (high - low)) / 2)
        ax.set(xlabel=metric.heading, ylabel="", xlim=(low - room, high + room))
        ax.grid(axis="x", alpha=0.3)
    return figure, axes


@as_it_is
def plot_groups(scores: pd.DataFrame, column: str) -> tuple[Figure, list[Axes]]:
    """Means by system and group, a picture for each metric; darker is better.

    In brackets: over how many clips.
    """
    rows = scores[scores["vae"]]
    rows = rows[rows["system"].isin(compared(rows))]
    metrics = [metric for metric in metrics_of(rows) if metric.overview and metric.bold]
    columns = 1 if rows[column].nunique() > 8 else 2
    figure, axes = _panels(metrics, rows["system"].nunique(), columns)
    for ax, metric in zip(axes, metrics, strict=True):
        cells = rows.groupby(["system", column], sort=False)[metric.name]
        means, counts = cells.mean().unstack(), cells.count().unstack(fill_value=0)
        quality, number = metric.sign * means.to_numpy(), counts.to_numpy()
        ax.imshow(quality, "Blues", aspect="auto")
        low, high = np.nanmin(quality), np.nanmax(quality)
        for (i, j), value in np.ndenumerate(quality):
            if number[i, j]:
                text = f"{metric.text(metric.sign * value)} ({number[i, j]})"
                dark = value - low > 0.6 * (high - low)
                ax.text(j, i, text, ha="center", va="center", size=9, color="w" if dark else "k")
        ax.set_xticks(range(means.shape[1]), means.columns, rotation=20, ha="right")
        ax.set_yticks(range(len(means)), means.index)
        ax.set_title(f"{metric.heading}, by {column}", fontsize=10)
    return figure, axes


@as_it_is
def plot_differences(
    found: dict[Metric, dict[str, Interval]], methods: dict[str, str], reference: str
) -> tuple[Figure, list[Axes]]:
    """What :func:`differences` found, with its intervals; ``methods`` has each system's method."""
    metrics = [metric for metric in found if metric.overview]
    figure, axes = _panels(metrics, len(methods) - 1)
    for ax, metric in zip(axes, metrics, strict=True):
        others = found[metric]
        colors = [color_of(methods[name]) for name in others]
        draw_intervals(ax, list(others), [each[:3] for each in others.values()], colors)
        ax.axvline(0, color="black", lw=1)
        ax.locator_params(axis="x", nbins=5)
        ax.set_xlabel(metric.heading)
    figure.suptitle(f"Difference to {reference}, paired by clip, with 95 % intervals", fontsize=11)
    return figure, axes
