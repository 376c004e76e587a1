"""Pictures of the comparison: its scores, the error budget, quality against cost.

Filled marks are through the VAE, hollow ones from the original mel; a method keeps its colour. The
numbers come from :mod:`vaerecon.lab.tables`,
:mod:`vaerecon.lab.nb04_method_comparison.error_budget` and
:mod:`vaerecon.lab.nb04_method_comparison.choice`.

Notebook: ``04_method_comparison``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullFormatter

from vaerecon.lab.nb04_method_comparison.choice import pareto
from vaerecon.lab.nb04_method_comparison.error_budget import CORNERS, SHARES, mean_budget
from vaerecon.lab.tables import candidates, heading, scored_metrics
from vaerecon.methods import METHODS
from vaerecon.metrics.scores import METRICS
from vaerecon.plots import METHOD_COLORS

if TYPE_CHECKING:
    import pandas as pd

SPREAD = ("log_mel_mae", "lsd_db", "mrstft", "pesq_wb", "estoi", "visqol", "snr_db")
SHARE_COLORS = {"mel": "#bdbdbd", "vae": "#4d4d4d"}  # that of the phase has the method's colour
OTHER_COLOR = "#7f7f7f"  # of a method that somebody registered
# The least that an axis split, so that a difference nobody hears does not fill the picture
LEAST_SPAN = {
    "log_mel_mae": 0.1, "lsd_db": 2.0, "mrstft": 0.2, "pesq_wb": 0.5, "estoi": 0.1, "stoi": 0.1,
    "visqol": 0.5, "snr_db": 1.0, "si_sdr_db": 10.0, "spectral_convergence_db": 1.0,
    "correlation": 0.1, "rmse": 0.01,
}  # fmt: skip


def _colors(names: Iterable[str]) -> dict[str, str]:
    return {name: METHOD_COLORS.get(name, OTHER_COLOR) for name in names}


def _source_key(sources: Sequence[bool]) -> list[Line2D]:
    """Legend entries: filled and hollow."""
    marks = {True: ("black", "through the VAE"), False: ("white", "from the original mel")}
    return [
        Line2D([], [], marker="o", ls="", mfc=marks[s][0], mec="black", label=marks[s][1])
        for s in sources
    ]


def _at_least(limits: tuple[float, float], metric: str) -> tuple[float, float]:
    """Limits of an axis, widened to ``LEAST_SPAN`` around their middle."""
    low, high = sorted(limits)
    more = max(0.0, LEAST_SPAN[metric] - (high - low)) / 2
    return low - more, high + more


def _marks(ax: Any, x: Any, y: Any, color: str, filled: bool, large: bool) -> None:
    ax.plot(
        x, y, ls="", marker="D" if large else "o", ms=7.5 if large else 4.5, mec=color, mew=1.2,
        mfc=color if filled else "white", alpha=1 if large else 0.65, zorder=3 if large else 2,
    )  # fmt: skip


def plot_spread(scores: pd.DataFrame, metrics: Iterable[str] = SPREAD) -> tuple[Figure, np.ndarray]:
    """Every clip's score as a point, and mean and standard deviation over the clips, by metric.

    Rows are the candidates; lines are what silence scores, and the oracle phase with and without
    the VAE, where they are near.
    """
    import seaborn as sns

    metrics, names = scored_metrics(scores, metrics), candidates(scores)
    columns = min(3, len(metrics))
    lines = -(-len(metrics) // columns)
    figure = Figure(figsize=(11, 0.9 + lines * (1.0 + 0.42 * len(names))), layout="constrained")
    axes = figure.subplots(lines, columns, sharey=True, squeeze=False)
    colors = _colors(names)
    for ax, metric in zip(axes.flat, metrics, strict=False):
        for row, name in enumerate(names):
            for vae, shift in ((True, -0.17), (False, 0.17)):
                rows = scores[(scores["method"] == name) & (scores["vae"] == vae)]
                rows = rows.assign(row=row + shift).dropna(subset=metric)
                if rows.empty:
                    continue
                color, fill = colors[name], colors[name] if vae else "white"
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
        ax.set(xlabel=heading(metric), ylabel="", ylim=(len(names) - 0.5, -0.5))
        ax.grid(axis="x", alpha=0.3)
    for ax in axes.flat[len(metrics) :]:
        ax.set_visible(False)
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
    """What is only compared, where it is near enough not to squeeze the rest."""
    low, high = sorted(ax.get_ylim() if horizontal else ax.get_xlim())
    room, drawn = 0.6 * (high - low), []
    for (name, vae), (style, _) in REFERENCE_LINES.items():
        value = scores.loc[(scores["method"] == name) & (scores["vae"] == vae), metric].mean()
        if not low - room <= value <= high + room:  # nor if it is NaN
            continue
        line = ax.axhline if horizontal else ax.axvline
        line(value, color=METHOD_COLORS[name], ls=style, lw=1.4, zorder=1)
        drawn.append(value)
    edge = 0.03 * (high - low)
    limits = min([low, *(v - edge for v in drawn)]), max([high, *(v + edge for v in drawn)])
    (ax.set_ylim if horizontal else ax.set_xlim)(limits)


def _reference_key() -> list[Line2D]:
    return [
        Line2D([], [], color=METHOD_COLORS[name], ls=style, label=label)
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
    size = (11, 1.6 + 0.75 * len(names) if len(metrics) < 3 else 2.2 + 1.0 * len(names))
    figure = Figure(figsize=size, layout="constrained")
    columns = min(2, len(metrics))
    axes = figure.subplots(-(-len(metrics) // columns), columns, sharey=True, squeeze=False)
    for ax, metric in zip(axes.flat, metrics, strict=False):
        means, rows = mean_budget(budget, metric), budget[budget["metric"] == metric]
        for name, m in means.iterrows():
            y, color = names.index(name), METHOD_COLORS.get(name, OTHER_COLOR)
            ends = {True: 0.0, False: 0.0}  # of the bars to the right, and to the left
            for share in SHARES:
                right = m[share] >= 0
                ax.barh(y, m[share], left=ends[right], height=0.62,
                        color=SHARE_COLORS.get(share, color))  # fmt: skip
                ends[right] += m[share]
            whole = rows.loc[rows["method"] == name, CORNERS[-1]]
            ax.plot([whole.mean()] * 2, [y - 0.31, y + 0.31], color="black", lw=2)
            ax.plot(whole, [y + 0.4] * len(whole), ls="", marker="o", ms=3.5, mec="black",
                    mfc=color, mew=0.6)  # fmt: skip
        ax.axvline(0, color="black", lw=0.8)
        ax.set_yticks(range(len(names)), [METHODS[n].label for n in names])
        ax.set(xlabel=_loss_label(metric), ylim=(len(names) - 0.4, -0.5))
        ax.grid(axis="x", alpha=0.3)
        ax.set_axisbelow(True)
    for ax in axes.flat[len(metrics) :]:
        ax.set_visible(False)
    color = METHOD_COLORS.get(names[0], OTHER_COLOR)
    key = [
        Patch(color=SHARE_COLORS["mel"], label="the mel"),
        Patch(color=SHARE_COLORS["vae"], label="the VAE"),
        Patch(color=color, label="the phase (in the method's colour)"),
        Line2D([], [], ls="", marker="|", ms=11, mew=2, color="black", label="whole loss"),
        Line2D([], [], ls="", marker="o", ms=4, mfc="white", mec="black", label="of each clip"),
    ]
    figure.legend(handles=key, loc="outside lower center", ncols=5, frameon=False)
    return figure, axes


def _loss_label(metric: str) -> str:
    m = METRICS[metric]
    unit = f" ({m.unit})" if m.unit else ""
    return f"{m.label}{unit}" if m.best == "lower" else f"{m.label} lost{unit}"


def plot_cost(
    scores: pd.DataFrame, metrics: Iterable[str] = ("lsd_db", "estoi")
) -> tuple[Figure, np.ndarray]:
    """Quality against the time that mel to samples took, as a share of the clip's length.

    Large diamonds are the mean quality at the median time. The grey line joins those through the
    VAE that no other method beats in both.
    """
    metrics, names = scored_metrics(scores, metrics), candidates(scores)
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    axes = figure.subplots(1, len(metrics), squeeze=False)[0]
    for ax, metric in zip(axes, metrics, strict=True):
        ax.set_xscale("log")
        for name in names:
            for vae in (True, False):
                rows = scores[(scores["method"] == name) & (scores["vae"] == vae)]
                x, y = rows["real_time_factor"], rows[metric]
                color = METHOD_COLORS.get(name, OTHER_COLOR)
                _marks(ax, x, y, color, vae, large=False)
                _marks(ax, x.median(), y.mean(), color, vae, large=True)
        ax.set_ylim(_at_least(ax.get_ylim(), metric))
        _reference_lines(ax, scores, metric, horizontal=True)
        front = pareto(scores, metric)
        ax.plot(front["real_time_factor"], front[metric], color="0.6", lw=5, alpha=0.5, zorder=1)
        if METRICS[metric].best == "lower":
            ax.invert_yaxis()
        ax.axvline(1, color="0.4", lw=0.8)
        low, high = ax.get_xlim()
        ax.set_xlim(low, max(high, 1.5))
        ax.set(xlabel="time / length of the clip", ylabel=f"{heading(metric)[:-2]}: up is better")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.grid(alpha=0.3)
    key = [
        Line2D([], [], ls="", marker="D", ms=7, color=c, label=METHODS[n].label)
        for n, c in _colors(names).items()
    ]
    front = [Line2D([], [], color="0.6", lw=5, alpha=0.5, label="not beaten in both")]
    figure.legend(
        handles=[*key, *_source_key((True, False)), *front, *_reference_key()],
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
            rows = scores[(scores["method"] == name) & (scores["vae"] == vae)]
            y = rows["clip"].map(clips.index) + 0.5 * (k / max(1, len(names) - 1) - 0.5)
            _marks(ax, rows[metric], y, METHOD_COLORS.get(name, OTHER_COLOR), vae, large=True)
    ax.set_yticks(range(len(clips)), clips)
    ax.set(xlabel=heading(metric), ylim=(len(clips) - 0.5, -0.5))
    ax.set_xlim(_at_least(ax.get_xlim(), metric))
    ax.grid(axis="x", alpha=0.3)
    key = [
        Line2D([], [], ls="", marker="D", color=c, label=METHODS[n].label)
        for n, c in _colors(names).items()
    ]
    figure.legend(handles=[*key, *_source_key(sources)], loc="outside right upper", frameon=False)
    return figure, ax
