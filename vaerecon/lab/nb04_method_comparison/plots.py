"""Pictures of the comparison: its scores, the error budget, quality against cost.

Filled marks are through the VAE, hollow ones from the original mel; a method keeps its colour.

Notebook: ``04_method_comparison``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullFormatter

from vaerecon.lab.nb04_method_comparison.error_budget import CORNERS, SHARES, mean_budget
from vaerecon.lab.tables import candidates, scored_metrics
from vaerecon.methods import METHODS
from vaerecon.metrics.recommendation import pareto
from vaerecon.metrics.scores import METRICS
from vaerecon.plots import METHOD_COLORS

if TYPE_CHECKING:
    import pandas as pd

SHARE_COLORS = {"mel": "#bdbdbd", "vae": "#4d4d4d"}  # that of the phase has the method's colour
OTHER_COLOR = "#7f7f7f"  # of a method that somebody registered


def color_of(method: str) -> str:
    """Its colour in every picture."""
    return METHOD_COLORS.get(method, OTHER_COLOR)


def _rows(scores: pd.DataFrame, method: str, vae: bool) -> pd.DataFrame:
    return scores[(scores["method"] == method) & (scores["vae"] == vae)]


def _panels(
    n: int, columns: int, size: tuple[float, float], **shared: Any
) -> tuple[Figure, np.ndarray]:
    """A figure with ``n`` axes in at most ``columns`` columns; spare axes are invisible."""
    figure = Figure(figsize=size, layout="constrained")
    columns = min(columns, n)
    axes = figure.subplots(math.ceil(n / columns), columns, squeeze=False, **shared)
    for ax in axes.flat[n:]:
        ax.set_visible(False)
    return figure, axes


def _method_key(names: Iterable[str]) -> list[Line2D]:
    """Legend entries: the colour of each method."""
    return [
        Line2D([], [], ls="", marker="D", ms=7, color=color_of(n), label=METHODS[n].label)
        for n in names
    ]


def _source_key(sources: Sequence[bool]) -> list[Line2D]:
    """Legend entries: filled and hollow."""
    marks = {True: ("black", "through the VAE"), False: ("white", "from the original mel")}
    return [
        Line2D([], [], marker="o", ls="", mfc=marks[s][0], mec="black", label=marks[s][1])
        for s in sources
    ]


def _at_least(limits: tuple[float, float], metric: str) -> tuple[float, float]:
    """Limits of an axis, widened around their middle to the metric's ``span``."""
    low, high = sorted(limits)
    more = max(0.0, METRICS[metric].span - (high - low)) / 2
    return low - more, high + more


def _marks(ax: Any, x: Any, y: Any, color: str, filled: bool, large: bool) -> None:
    ax.plot(
        x, y, ls="", marker="D" if large else "o", ms=7.5 if large else 4.5, mec=color, mew=1.2,
        mfc=color if filled else "white", alpha=1 if large else 0.65, zorder=3 if large else 2,
    )  # fmt: skip


def plot_spread(
    scores: pd.DataFrame, metrics: Iterable[str] | None = None
) -> tuple[Figure, np.ndarray]:
    """Every clip's score as a point, and mean and standard deviation over the clips, by metric.

    Rows are the candidates; lines are what silence scores, and the oracle phase with and without
    the VAE, where they are near. Without ``metrics``, those marked ``overview``.
    """
    import seaborn as sns

    if metrics is None:
        metrics = [name for name, metric in METRICS.items() if metric.overview]
    metrics, names = scored_metrics(scores, metrics), candidates(scores)
    height = 0.9 + math.ceil(len(metrics) / 3) * (1.0 + 0.42 * len(names))
    figure, axes = _panels(len(metrics), 3, (11, height), sharey=True)
    for ax, metric in zip(axes.flat, metrics, strict=False):
        for row, name in enumerate(names):
            for vae, shift in ((True, -0.17), (False, 0.17)):
                rows = _rows(scores, name, vae).assign(row=row + shift).dropna(subset=metric)
                if rows.empty:
                    continue
                color, fill = color_of(name), color_of(name) if vae else "white"
                shared = {"data": rows, "x": metric, "y": "row", "color": color, "orient": "h",
                          "native_scale": True, "ax": ax}  # fmt: skip
                sns.stripplot(**shared, jitter=False, size=5, linewidth=1.2, alpha=0.6)
                ax.collections[-1].set(facecolor=fill, edgecolor=color)
                sns.pointplot(
                    **shared, errorbar="sd", linestyle="none", marker="D", markersize=6,
                    markerfacecolor=fill, err_kws={"linewidth": 1.5},
                )  # fmt: skip
        ax.set_xlim(_at_least(ax.get_xlim(), metric))
        _reference_lines(ax, scores, metric)
        ax.set_yticks(range(len(names)), [METHODS[n].label for n in names])
        ax.set(xlabel=METRICS[metric].heading, ylabel="", ylim=(len(names) - 0.5, -0.5))
        ax.grid(axis="x", alpha=0.3)
    figure.legend(
        handles=[*_source_key((True, False)), *_reference_key()],
        loc="outside lower center", ncols=5, frameon=False,
    )  # fmt: skip
    return figure, axes


REFERENCE_LINES = {
    ("oracle_phase", True): ("--", "oracle phase, through the VAE"),
    ("oracle_phase", False): (":", "oracle phase, no VAE"),
    ("silence", True): ("-", "silence"),
}


def _reference_lines(ax: Any, scores: pd.DataFrame, metric: str, horizontal: bool = False) -> None:
    """Lines for silence and the oracle phase, where they are near the methods' values."""
    low, high = sorted(ax.get_ylim() if horizontal else ax.get_xlim())
    room, drawn = 0.6 * (high - low), []
    for (name, vae), (style, _) in REFERENCE_LINES.items():
        value = _rows(scores, name, vae)[metric].mean()
        if not low - room <= value <= high + room:  # nor if it is NaN
            continue
        line = ax.axhline if horizontal else ax.axvline
        line(value, color=color_of(name), ls=style, lw=1.4, zorder=1)
        drawn.append(value)
    edge = 0.03 * (high - low)
    limits = min([low, *(v - edge for v in drawn)]), max([high, *(v + edge for v in drawn)])
    (ax.set_ylim if horizontal else ax.set_xlim)(limits)


def _reference_key() -> list[Line2D]:
    return [
        Line2D([], [], color=color_of(name), ls=style, label=label)
        for (name, _), (style, label) in REFERENCE_LINES.items()
    ]


def plot_budget(budget: pd.DataFrame) -> tuple[Figure, np.ndarray]:
    """The shares of :func:`vaerecon.lab.nb04_method_comparison.error_budget.error_budget`, one bar
    a method.

    Means over clips. A share below zero goes to the left, from zero. The black line is the whole
    loss, the sum of the shares; dots are the whole loss of each clip.
    """
    metrics = list(budget["metric"].unique())
    if not metrics:
        raise ValueError("budget: got no clip with the scores that it needs")
    names = list(budget["method"].unique())
    columns = 2 if len(metrics) < 5 else 3
    height = 1.0 + math.ceil(len(metrics) / columns) * (0.6 + 0.5 * len(names))
    figure, axes = _panels(len(metrics), columns, (11, height), sharey=True)
    for ax, metric in zip(axes.flat, metrics, strict=False):
        means, rows = mean_budget(budget, metric), budget[budget["metric"] == metric]
        for name in means.index:
            y, color = names.index(name), color_of(name)
            ends = {True: 0.0, False: 0.0}  # of the bars to the right, and to the left
            for share in SHARES:
                width = float(means[share][name])
                ax.barh(y, width, left=ends[width >= 0], height=0.62,
                        color=SHARE_COLORS.get(share, color))  # fmt: skip
                ends[width >= 0] += width
            whole = rows.loc[rows["method"] == name, CORNERS[-1]]
            ax.plot([whole.mean()] * 2, [y - 0.31, y + 0.31], color="black", lw=2)
            ax.plot(whole, [y + 0.4] * len(whole), ls="", marker="o", ms=3.5, mec="black",
                    mfc=color, mew=0.6)  # fmt: skip
        ax.axvline(0, color="black", lw=0.8)
        ax.set_yticks(range(len(names)), [METHODS[n].label for n in names])
        ax.set(xlabel=_loss_label(metric), ylim=(len(names) - 0.4, -0.5))
        ax.grid(axis="x", alpha=0.3)
        ax.set_axisbelow(True)
    key = [
        Patch(color=SHARE_COLORS["mel"], label="the mel"),
        Patch(color=SHARE_COLORS["vae"], label="the VAE"),
        Patch(color=color_of(names[0]), label="the phase (in the method's colour)"),
        Line2D([], [], ls="", marker="|", ms=11, mew=2, color="black", label="whole loss"),
        Line2D([], [], ls="", marker="o", ms=4, mfc="white", mec="black", label="of each clip"),
    ]
    figure.legend(handles=key, loc="outside lower center", ncols=5, frameon=False)
    return figure, axes


def _loss_label(metric: str) -> str:
    m = METRICS[metric]
    return m.title if m.best == "lower" else m.title.replace(m.label, f"{m.label} lost", 1)


def plot_cost(
    scores: pd.DataFrame, metrics: Iterable[str] = ("lsd_db", "estoi")
) -> tuple[Figure, np.ndarray]:
    """Quality against the time that mel to samples took, as a share of the clip's length.

    Large diamonds are the mean quality at the median time. The grey line joins those through the
    VAE that no other method beats in both.
    """
    metrics, names = scored_metrics(scores, metrics), candidates(scores)
    figure, lines = _panels(len(metrics), len(metrics), (11, 4.2))
    axes = lines[0]
    for ax, metric in zip(axes, metrics, strict=True):
        ax.set_xscale("log")
        for name in names:
            for vae in (True, False):
                rows = _rows(scores, name, vae)
                x, y = rows["real_time_factor"], rows[metric]
                _marks(ax, x, y, color_of(name), vae, large=False)
                _marks(ax, x.median(), y.mean(), color_of(name), vae, large=True)
        ax.set_ylim(_at_least(ax.get_ylim(), metric))
        _reference_lines(ax, scores, metric, horizontal=True)
        front = pareto(scores, metric, names)
        ax.plot(front["real_time_factor"], front[metric], color="0.6", lw=5, alpha=0.5, zorder=1)
        if METRICS[metric].best == "lower":
            ax.invert_yaxis()
        ax.axvline(1, color="0.4", lw=0.8)
        low, high = ax.get_xlim()
        ax.set_xlim(low, max(high, 1.5))
        ax.set(xlabel="time / length of the clip", ylabel=f"{METRICS[metric].title}: up is better")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.grid(alpha=0.3)
    line = Line2D([], [], color="0.6", lw=5, alpha=0.5, label="not beaten in both")
    figure.legend(
        handles=[*_method_key(names), *_source_key((True, False)), line, *_reference_key()],
        loc="outside lower center", ncols=5, frameon=False,
    )  # fmt: skip
    return figure, axes


def plot_clips(
    scores: pd.DataFrame, metric: str = "lsd_db", sources: Sequence[bool] = (True, False)
) -> tuple[Figure, Any]:
    """One metric, clip by clip: which method did best where."""
    clips, names = list(scores["clip"].unique()), candidates(scores)
    figure = Figure(figsize=(9, 1.5 + 0.5 * len(clips)), layout="constrained")
    ax = figure.subplots()
    for k, name in enumerate(names):
        for vae in sources:
            rows = _rows(scores, name, vae)
            y = rows["clip"].map(clips.index) + 0.5 * (k / max(1, len(names) - 1) - 0.5)
            _marks(ax, rows[metric], y, color_of(name), vae, large=True)
    ax.set_yticks(range(len(clips)), clips)
    ax.set(xlabel=METRICS[metric].heading, ylim=(len(clips) - 0.5, -0.5))
    ax.set_xlim(_at_least(ax.get_xlim(), metric))
    ax.grid(axis="x", alpha=0.3)
    figure.legend(handles=[*_method_key(names), *_source_key(sources)], loc="outside right upper",
                  frameon=False)  # fmt: skip
    return figure, ax
