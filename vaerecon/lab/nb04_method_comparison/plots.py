"""Plots for ``04_method_comparison``: scores, error budget, quality against cost, metrics.

Filled marks are through the VAE, hollow ones from the original mel. A method keeps its colour; of
several models, each has a mark of its own.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullFormatter

from vaerecon.lab.figures import panels
from vaerecon.lab.nb04_method_comparison.error_budget import CORNERS, SHARES, mean_budget
from vaerecon.lab.tables import candidates, label, scored_metrics, split_name
from vaerecon.metrics.recommendation import pareto
from vaerecon.metrics.scores import METRICS
from vaerecon.plots import METHOD_COLORS, new_axes

SHARE_COLORS = {"mel": "#bdbdbd", "vae": "#4d4d4d"}  # that of the phase has the method's colour
OTHER_COLOR = "#7f7f7f"  # of a method that somebody registered
MODEL_MARKS = "osv^P<>X"  # then again from the first
REFERENCE_LINES = {
    ("oracle_phase", True): ("--", "oracle phase, through the VAE"),
    ("oracle_phase", False): (":", "oracle phase, no VAE"),
    ("silence", True): ("-", "silence"),
}


def color_of(method: str) -> str:
    """Its colour in every picture."""
    return METHOD_COLORS.get(split_name(method)[0], OTHER_COLOR)


def _marks(scores: pd.DataFrame) -> dict[str, str]:
    """The mark of each model, by what its methods have behind their names; one model has none."""
    models = dict.fromkeys(split_name(name)[1] for name in candidates(scores))
    return dict(zip(models, cycle(MODEL_MARKS), strict=False)) if len(models) > 1 else {}


def _groups(
    scores: pd.DataFrame, sources: Sequence[bool] = (True, False)
) -> Iterator[tuple[str, pd.DataFrame, dict[str, Any]]]:
    """Each candidate, its rows from each source, and how they are drawn."""
    marks = _marks(scores)
    for name in candidates(scores):
        for vae in sources:
            rows = scores[(scores["method"] == name) & (scores["vae"] == vae)]
            fill = color_of(name) if vae else "white"
            style = {"ls": "", "mec": color_of(name), "mew": 1.2, "mfc": fill}
            yield name, rows, style | {"marker": marks.get(split_name(name)[1], "")}


def _draw(ax: Any, x: Any, y: Any, style: dict[str, Any], large: bool) -> None:
    mark = style["marker"] or ("D" if large else "o")
    size = {"ms": 7.5, "zorder": 3} if large else {"ms": 4.5, "alpha": 0.65}
    ax.plot(x, y, **style | {"marker": mark} | size)


def _key(
    scores: pd.DataFrame, methods: bool = True, sources: Sequence[bool] = (True, False)
) -> list[Line2D]:
    """Legend entries: the methods' colours, filled and hollow marks, each model's mark."""
    named = dict.fromkeys(split_name(name)[0] for name in candidates(scores) if methods)
    styles: list[dict[str, Any]]
    styles = [{"label": label(n), "marker": "D", "ms": 7, "color": color_of(n)} for n in named]
    fills = {True: ("black", "through the VAE"), False: ("white", "from the original mel")}
    marks = [(*fills[source], "o") for source in sources]
    marks += [("0.6", model.strip(" ()"), mark) for model, mark in _marks(scores).items()]
    styles += [{"label": n, "marker": mark, "mfc": fill, "mec": "black"} for fill, n, mark in marks]
    return [Line2D([], [], ls="", **style) for style in styles]


def _reference_key() -> list[Line2D]:
    return [
        Line2D([], [], color=color_of(name), ls=style, label=words)
        for (name, _), (style, words) in REFERENCE_LINES.items()
    ]


def _at_least(limits: tuple[float, float], metric: str) -> tuple[float, float]:
    """Limits of an axis, widened around their middle to the metric's ``span``."""
    low, high = sorted(limits)
    more = max(0.0, METRICS[metric].span - (high - low)) / 2
    return low - more, high + more


def _reference_lines(ax: Any, scores: pd.DataFrame, metric: str, horizontal: bool = False) -> None:
    """Lines for silence and the oracle phase, where they are near the methods' values.

    Of several models, the lines that differ have the model's mark at both ends.
    """
    low, high = sorted(ax.get_ylim() if horizontal else ax.get_xlim())
    room, drawn, marks = 0.6 * (high - low), [], _marks(scores)
    means = scores.groupby(["method", "vae"], sort=False)[metric].mean()
    for name, vae, value in means.reset_index().itertuples(index=False):
        method, model = split_name(name)
        if (method, vae) not in REFERENCE_LINES or not low - room <= value <= high + room:
            continue  # no line, far away, or NaN
        line = ax.axhline if horizontal else ax.axvline
        mark = marks.get(model) if vae else None
        style = REFERENCE_LINES[method, vae][0]
        line(value, color=color_of(method), ls=style, lw=1.4, zorder=1, marker=mark)
        drawn.append(value)
    edge = 0.03 * (high - low)
    limits = min([low, *(v - edge for v in drawn)]), max([high, *(v + edge for v in drawn)])
    (ax.set_ylim if horizontal else ax.set_xlim)(limits)


def plot_spread(
    scores: pd.DataFrame, metrics: Iterable[str] | None = None
) -> tuple[Figure, np.ndarray]:
    """Every clip's score as a point, and mean and standard deviation over the clips, by metric.

    Rows are the candidates; lines are what silence scores, and the oracle phase with and without
    the VAE, where they are near. Without ``metrics``, those marked ``overview``.
    """
    if metrics is None:
        metrics = [name for name, metric in METRICS.items() if metric.overview]
    metrics, names = scored_metrics(scores, metrics), candidates(scores)
    height = 0.9 + math.ceil(len(metrics) / 3) * (1.0 + 0.42 * len(names))
    figure, axes = panels(len(metrics), 3, (11, height), sharey=True)
    for ax, metric in zip(axes.flat, metrics, strict=False):
        for name, rows, style in _groups(scores):
            row = names.index(name) + (-0.17 if rows["vae"].all() else 0.17)
            values = rows[metric].dropna()
            if values.empty:
                continue
            _draw(ax, values, [row] * len(values), style, large=False)
            ax.errorbar(values.mean(), row, xerr=values.std(), color=style["mec"], lw=1.5)
            _draw(ax, values.mean(), row, style, large=True)
        ax.set_xlim(_at_least(ax.get_xlim(), metric))
        _reference_lines(ax, scores, metric)
        ax.set_yticks(range(len(names)), map(label, names))
        ax.set(xlabel=METRICS[metric].heading, ylabel="", ylim=(len(names) - 0.5, -0.5))
        ax.grid(axis="x", alpha=0.3)
    key = [*_key(scores, methods=False), *_reference_key()]
    figure.legend(handles=key, loc="outside lower center", ncols=5, frameon=False)
    return figure, axes


def plot_budget(budget: pd.DataFrame) -> tuple[Figure, np.ndarray]:
    """The shares of a table of ``error_budget.error_budget``, one bar a method.

    Means over clips. A share below zero goes to the left, from zero. The black line is the whole
    loss, the sum of the shares; dots are the whole loss of each clip.
    """
    metrics = list(budget["metric"].unique())
    if not metrics:
        raise ValueError("budget: got no clip with the scores that it needs")
    names = list(budget["method"].unique())
    columns = 2 if len(metrics) < 5 else 3
    height = 1.0 + math.ceil(len(metrics) / columns) * (0.6 + 0.5 * len(names))
    figure, axes = panels(len(metrics), columns, (11, height), sharey=True)
    for ax, metric in zip(axes.flat, metrics, strict=False):
        means, rows = mean_budget(budget, metric), budget[budget["metric"] == metric]
        for name in means.index:
            y, color = names.index(name), color_of(name)
            ends = {True: 0.0, False: 0.0}  # of the bars to the right, and to the left
            for share in SHARES:
                width = float(means[share][name])
                fill = SHARE_COLORS.get(share, color)
                ax.barh(y, width, left=ends[width >= 0], height=0.62, color=fill)
                ends[width >= 0] += width
            whole = rows.loc[rows["method"] == name, CORNERS[-1]]
            ax.plot([whole.mean()] * 2, [y - 0.31, y + 0.31], color="black", lw=2)
            dots = {"ls": "", "marker": "o", "ms": 3.5, "mec": "black", "mfc": color, "mew": 0.6}
            ax.plot(whole, [y + 0.4] * len(whole), **dots)
        ax.axvline(0, color="black", lw=0.8)
        ax.set_yticks(range(len(names)), map(label, names))
        m = METRICS[metric]
        lost = m.title if m.best == "lower" else m.title.replace(m.label, f"{m.label} lost", 1)
        ax.set(xlabel=lost, ylim=(len(names) - 0.4, -0.5))
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


def plot_cost(
    scores: pd.DataFrame, metrics: Iterable[str] = ("lsd_db", "estoi")
) -> tuple[Figure, np.ndarray]:
    """Quality against the time that mel to samples took, as a share of the clip's length.

    Large marks are the mean quality at the median time. The grey line joins those through the
    VAE that no other method beats in both.
    """
    metrics = scored_metrics(scores, metrics)
    figure, lines = panels(len(metrics), len(metrics), (11, 4.2))
    for ax, metric in zip(lines[0], metrics, strict=True):
        ax.set_xscale("log")
        for _, rows, style in _groups(scores):
            x, y = rows["real_time_factor"], rows[metric]
            _draw(ax, x, y, style, large=False)
            _draw(ax, x.median(), y.mean(), style, large=True)
        ax.set_ylim(_at_least(ax.get_ylim(), metric))
        _reference_lines(ax, scores, metric, horizontal=True)
        front = pareto(scores, metric, candidates(scores))
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
    key = [*_key(scores), line, *_reference_key()]
    figure.legend(handles=key, loc="outside lower center", ncols=5, frameon=False)
    return figure, lines[0]


def plot_clips(
    scores: pd.DataFrame, metric: str = "lsd_db", sources: Sequence[bool] = (True, False)
) -> tuple[Figure, Any]:
    """One metric, clip by clip: which method did best where."""
    clips, names = list(scores["clip"].unique()), candidates(scores)
    figure, ax = new_axes(None, (9, 1.5 + 0.5 * len(clips)))
    for name, rows, style in _groups(scores, sources):
        shift = 0.5 * (names.index(name) / max(1, len(names) - 1) - 0.5)
        _draw(ax, rows[metric], rows["clip"].map(clips.index) + shift, style, large=True)
    ax.set_yticks(range(len(clips)), clips)
    ax.set(xlabel=METRICS[metric].heading, ylim=(len(clips) - 0.5, -0.5))
    ax.set_xlim(_at_least(ax.get_xlim(), metric))
    ax.grid(axis="x", alpha=0.3)
    figure.legend(handles=_key(scores, sources=sources), loc="outside right upper", frameon=False)
    return figure, ax
