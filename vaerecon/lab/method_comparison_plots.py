"""Pictures of the comparison, and its explorer.

Filled marks are through the VAE, hollow ones from the original mel; a method keeps its colour. The
numbers come from :mod:`vaerecon.lab.method_comparison` and :mod:`vaerecon.lab.method_choice`.

Notebook: ``04_method_comparison``.
"""

from __future__ import annotations

import html
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullFormatter

from vaerecon.audio import Clip, load_audio
from vaerecon.lab.method_choice import error_budget, pareto
from vaerecon.lab.method_comparison import (
    candidates,
    heading,
    run_comparison,
    score_table,
    scored_metrics,
    snr_at_gains,
)
from vaerecon.lab.plots import METHOD_COLORS
from vaerecon.lab.setup import png
from vaerecon.methods import METHODS
from vaerecon.metrics import METRICS

if TYPE_CHECKING:
    import pandas as pd
    from ipywidgets import VBox

    from vaerecon.pipeline import ReconstructionPipeline
    from vaerecon.result import Reconstruction

SPREAD = ("log_mel_mae", "lsd_db", "mrstft", "pesq_wb", "estoi", "visqol", "snr_db")
STAGE_COLORS = {"mel": "#bdbdbd", "vae": "#4d4d4d"}  # the method's part has the method's colour
OTHER_COLOR = "#7f7f7f"  # of a method that somebody registered
# The least that an axis spans, so that a difference nobody hears does not fill the picture
LEAST_SPAN = {
    "log_mel_mae": 0.1, "lsd_db": 2.0, "mrstft": 0.2, "pesq_wb": 0.5, "estoi": 0.1, "stoi": 0.1,
    "visqol": 0.5, "snr_db": 1.0, "si_sdr_db": 10.0, "spectral_convergence_db": 1.0,
    "correlation": 0.1, "rmse": 0.01,
}  # fmt: skip
SOURCES = {"both": (True, False), "through the VAE": (True,), "from the original mel": (False,)}
UPLOADED = ("vocoder", "griffinlim", "hybrid", "admm")  # an upload should not wait for librosa


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


def plot_budget(results: Sequence[Reconstruction]) -> tuple[Figure, np.ndarray]:
    """The error budget: what the mel, the VAE and the method each lose, one bar a method.

    Means over clips; the whisker at the border of VAE and method shows where it lies if either is
    counted first; dots are the whole loss of each clip.
    """
    budget = error_budget(results)
    metrics = list(budget["metric"].unique())
    if not metrics:
        raise ValueError("results: got no clip with the scores that a budget needs")
    names = list(budget["method"].unique())
    size = (11, 1.6 + 0.75 * len(names) if len(metrics) < 3 else 2.2 + 1.0 * len(names))
    figure = Figure(figsize=size, layout="constrained")
    columns = min(2, len(metrics))
    axes = figure.subplots(-(-len(metrics) // columns), columns, sharey=True, squeeze=False)
    for ax, metric in zip(axes.flat, metrics, strict=False):
        rows = budget[budget["metric"] == metric]
        for y, name in enumerate(names):
            clips = rows[rows["method"] == name]
            if clips.empty:
                continue
            mean = clips.drop(columns=["clip", "method", "metric"]).mean()
            border = float(np.clip(mean["mel"] + mean["vae"], mean["mel"], mean["total"]))
            ends = [mean["mel"] + mean[way] for way in ("vae_alone", "vae_on_top")]
            color = METHOD_COLORS.get(name, OTHER_COLOR)
            ax.barh(y, mean["mel"], color=STAGE_COLORS["mel"], height=0.62)
            ax.barh(y, border - mean["mel"], left=mean["mel"], color=STAGE_COLORS["vae"],
                    height=0.62)  # fmt: skip
            ax.barh(y, mean["total"] - border, left=border, color=color, height=0.62)
            ax.plot(ends, [y, y], color="white", lw=3.5, solid_capstyle="butt")
            ax.plot(ends, [y, y], color="black", lw=1.3, marker="|", ms=9)
            ax.plot(clips["total"], [y + 0.4] * len(clips), ls="", marker="o", ms=3.5, mec="black",
                    mfc=color, mew=0.6)  # fmt: skip
        ax.set_yticks(range(len(names)), [METHODS[n].label for n in names])
        ax.set(xlabel=_loss_label(metric), ylim=(len(names) - 0.4, -0.5), xlim=(0, None))
        ax.grid(axis="x", alpha=0.3)
        ax.set_axisbelow(True)
    for ax in axes.flat[len(metrics) :]:
        ax.set_visible(False)
    key = [
        Patch(color=STAGE_COLORS["mel"], label="lost by the mel"),
        Patch(color=STAGE_COLORS["vae"], label="by the VAE"),
        Patch(
            color=METHOD_COLORS.get(names[0], OTHER_COLOR), label="by the method (in its colour)"
        ),
        Line2D([], [], color="black", lw=1.3, marker="|", ms=9, label="border, by order of stages"),
        Line2D([], [], ls="", marker="o", ms=4, mfc="white", mec="black", label="whole, each clip"),
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


def plot_snr_against_volume(result: Reconstruction) -> tuple[Figure, Any]:
    """What the SNR of each candidate, and of the oracle phase, does as its volume is turned."""
    figure = Figure(figsize=(8.5, 3.8), layout="constrained")
    ax = figure.subplots()
    gains = np.linspace(-40, 12, 27)
    names = [n for n in result.methods if not METHODS[n].reference_only]
    for name in [*names, "oracle_phase"]:
        snr = snr_at_gains(result.reference, result.methods[name].samples, gains)
        style = "--" if name == "oracle_phase" else "-"
        color = METHOD_COLORS.get(name, OTHER_COLOR)
        ax.plot(gains, snr, color=color, ls=style, lw=2, label=METHODS[name].label)
    ax.axhline(0, color=METHOD_COLORS["silence"], lw=1.5, label="Silence")
    ax.axvline(0, color="0.4", lw=0.8)
    ax.set(xlabel="volume turned by (dB)", ylabel=heading("snr_db"), xlim=(-40, 12))
    ax.set_title(f"{result.clip.name}, through the VAE")
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    ax.grid(alpha=0.3)
    return figure, ax


def plot_rank_correlation(table: pd.DataFrame) -> tuple[Figure, Any]:
    """The heat map of :func:`vaerecon.lab.method_comparison.rank_correlation`."""
    import seaborn as sns

    empty = table.isna().all(axis=None)
    figure = Figure(figsize=(7.6, 0.6 if empty else 6.2), layout="constrained")
    ax = figure.subplots()
    if empty:
        ax.text(0.5, 0.5, "too few methods to rank", ha="center", va="center")
        ax.set_axis_off()
        return figure, ax
    labels = [METRICS[m].label for m in table]
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


# ------------------------------------------------------------------ the explorer


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


def explorer_comparison(
    pipe: ReconstructionPipeline,
    results: Sequence[Reconstruction],
    *,
    max_length: float = 4.0,
    seed: int = 0,
) -> VBox:
    """Choose a metric and a source; add a clip of one's own, which is run by the quick methods.

    ``results`` stays as it is: what is added lives in the explorer.
    """
    import ipywidgets as w

    table = score_table(results)
    known, quick = list(results), [n for n in UPLOADED if n in candidates(table)]
    able = quick or candidates(table)  # whatever the notebook ran
    options = [(METRICS[m].label, m) for m in scored_metrics(table)]
    metric = w.Dropdown(options=options, value=scored_metrics(table)[-1], description="metric")
    source = w.ToggleButtons(options=list(SOURCES), description="source")
    upload = w.FileUpload(accept="audio/*", description="add a clip")
    picture, note = w.Image(format="png"), w.HTML()

    def redraw(_: Any = None) -> None:
        figure, _ax = plot_clips(score_table(known), metric.value, SOURCES[source.value])
        picture.value = png(figure)

    def add(_: Any) -> None:
        for file in upload.value:
            note.value = "working ..."
            try:
                clip = _uploaded(file, max_length, {r.clip.name for r in known})
                known.extend(run_comparison(pipe, [clip], able, seed=seed))
                redraw()
                note.value = f"added, {clip.duration:.1f} s: {html.escape(clip.name)}"
            except (ValueError, OSError, RuntimeError) as error:
                note.value = f"<b>Not added.</b> {html.escape(str(error))}"

    metric.observe(redraw, "value")
    source.observe(redraw, "value")
    upload.observe(add, "value")
    redraw()
    return w.VBox([w.HBox([metric, upload, note]), source, picture])


def _uploaded(file: dict[str, Any], max_length: float, taken: set[str]) -> Clip:
    """A file of the upload button as a clip, with a name that is not in the table yet."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / Path(file["name"]).name
        path.write_bytes(bytes(file["content"]))
        clip = load_audio(path, max_length=max_length)
    while clip.name in taken:
        clip = replace(clip, name=f"{clip.name} (again)")
    return clip
