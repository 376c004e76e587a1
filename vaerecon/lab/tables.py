"""The scores of a comparison as tables, and how a table reads as text.

Tables are long, one row a clip, method and source (``vae`` True: through the VAE), with one column
a metric and NaN where it has no value. Means say how many clips were scored. Candidates and
references as in :mod:`vaerecon.lab.nb04_method_comparison.comparison`.

Notebook: ``04_method_comparison``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from vaerecon.methods import METHODS
from vaerecon.metrics.scores import METRICS, ON_REQUEST, Mean, mean_scores

if TYPE_CHECKING:
    import pandas as pd

    from vaerecon.pipeline.result import Reconstruction


def score_table(results: Sequence[Reconstruction]) -> pd.DataFrame:
    """Every score, long: ``clip``, ``method``, ``vae``, ``seconds``, ``real_time_factor``, then
    the metrics; those that no clip has a value for are left out."""
    import pandas as pd

    tables = [r.table.reset_index().assign(clip=r.clip.name) for r in results]
    table = pd.concat(tables, ignore_index=True)
    table["vae"] = table["vae"].astype(bool)
    empty = [m for m in METRICS if m in table and table[m].isna().all()]
    return table.drop(columns=empty)


def candidates(scores: pd.DataFrame) -> list[str]:
    """The methods in a table that can be chosen, in its order."""
    return [n for n in scores["method"].unique() if not METHODS[n].reference_only]


def scored_metrics(scores: pd.DataFrame, wanted: Iterable[str] = METRICS) -> list[str]:
    """Those of ``wanted`` that the table has."""
    return [name for name in wanted if name in scores]


def means_through_vae(scores: pd.DataFrame, metric: str) -> dict[str, float]:
    """Method -> mean over the clips, through the VAE; NaN without a value."""
    means = scores[scores["vae"]].groupby("method", sort=False)[metric].mean()
    return {str(name): float(value) for name, value in means.items()}


def mean_table(
    results: Sequence[Reconstruction], through_vae: bool, metrics: Iterable[str] = METRICS
) -> pd.DataFrame:
    """Means over the clips as text: methods x metrics, the best candidate in bold.

    Where fewer clips have a value than were run, the number that have one stands behind it. A
    metric by which methods should not be ranked (``bold`` False) has no best.
    """
    import pandas as pd

    scores = score_table(results)
    able, metrics = candidates(scores), scored_metrics(scores, metrics)
    groups = [r.methods if through_vae else r.without_vae for r in results]
    means = {name: mean_scores([group[name].scores for group in groups]) for name in groups[0]}
    cells = {}
    for m in metrics:
        known = [value for n in able if (value := means[n][m].value) is not None]
        best = None
        if METRICS[m].bold and len(known) > 1:
            best = max(known) if METRICS[m].best == "higher" else min(known)
        cells[METRICS[m].heading] = [
            mean_text(m, row[m], len(results), best if n in able else None)
            for n, row in means.items()
        ]
    times = {
        n: [g[n].seconds / r.clip.duration for g, r in zip(groups, results, strict=True)]
        for n in means
    }
    cells["time / length"] = [f"{np.median(each):.3f}" for each in times.values()]
    return pd.DataFrame(cells, index=pd.Index([METHODS[n].label for n in means], name="method"))


def ceiling_text(scores: pd.DataFrame) -> str:
    """Whether ``oracle_phase`` bounds the candidates in the metrics where it should; Markdown."""
    metrics = [METRICS[m] for m in scored_metrics(scores) if METRICS[m].bounded]
    passing = []
    for metric in metrics:
        table = scores.pivot(index=["clip", "vae"], columns="method", values=metric.name)
        for name in candidates(scores):
            ahead = metric.sign * (table[name] - table["oracle_phase"]) > 0
            passing += [
                f"{METHODS[name].label} in {metric.label} on {clip}" + ("" if vae else ", no VAE")
                for clip, vae in ahead[ahead].index
            ]
    if passing:
        return f"The oracle phase is **no ceiling** here. It is passed by {'; '.join(passing)}."
    names = ", ".join(metric.label for metric in metrics)
    return f"No method passes the oracle phase on any clip, with or without the VAE, in {names}."


# ------------------------------------------------------------------ text


def count(n: int, thing: str) -> str:
    """``1 clip``, ``3 clips``."""
    return f"{n} {thing}" + ("" if n == 1 else "s")


def mean_text(metric: str, mean: Mean, clips: int, best: float | None = None) -> str:
    """In bold if it reads like the best; with the number of clips if that is not all of them."""
    if mean.value is None:
        return "no value"
    show = (ON_REQUEST.get(metric) or METRICS[metric]).text
    text = show(mean.value)
    if best is not None and text == show(best):
        text = f"**{text}**"
    return text if mean.scored == clips else f"{text} ({mean.scored} of {clips})"


def as_markdown(table: pd.DataFrame) -> str:
    """A table as Markdown, its index as the first column."""

    def line(cells: Iterable[object]) -> str:
        return "| " + " | ".join(str(c).replace("|", "\\|") for c in cells) + " |"

    head = line([table.index.name or "", *table.columns])
    rows = [line([i, *row]) for i, row in zip(table.index, table.to_numpy(), strict=True)]
    return "\n".join([head, "|" + " --- |" * (table.shape[1] + 1), *rows])
