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
from vaerecon.metrics.scores import METRICS, Mean, mean_scores
from vaerecon.phase.references import BOUNDED

if TYPE_CHECKING:
    import pandas as pd

    from vaerecon.pipeline.result import Reconstruction

DECIMALS = {
    "snr_db": 2, "si_sdr_db": 1, "correlation": 3, "rmse": 3, "log_mel_mae": 3, "lsd_db": 1,
    "spectral_convergence_db": 1, "mrstft": 2, "pesq_wb": 2, "stoi": 3, "estoi": 3, "visqol": 2,
}  # fmt: skip


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


def mean_table(
    results: Sequence[Reconstruction], through_vae: bool, metrics: Iterable[str] | None = None
) -> pd.DataFrame:
    """Means over the clips as text: methods x metrics, the best candidate of each in bold.

    Where fewer clips have a value than were run, the number that have one stands behind it.
    """
    import pandas as pd

    scores = score_table(results)
    metrics = scored_metrics(scores, METRICS if metrics is None else metrics)
    groups = [r.methods if through_vae else r.without_vae for r in results]
    rows = {}
    for name in groups[0]:
        means = mean_scores([group[name].scores for group in groups])
        rtf = np.median(
            [g[name].seconds / r.clip.duration for g, r in zip(groups, results, strict=True)]
        )
        rows[name] = {m: means[m] for m in metrics} | {"rtf": rtf}
    cells = {}
    for m in metrics:
        values = {n: row[m].value for n, row in rows.items() if row[m].value is not None}
        able = [values[n] for n in candidates(scores) if n in values]
        best = (max if METRICS[m].best == "higher" else min)(able) if len(able) > 1 else None
        cells[heading(m)] = [
            mean_text(m, row[m], len(results), best if n in candidates(scores) else None)
            for n, row in rows.items()
        ]
    cells["time / length"] = [f"{row['rtf']:.3f}" for row in rows.values()]
    labels = pd.Index([METHODS[n].label for n in rows], name="method")
    return pd.DataFrame(cells, index=labels)


def ceiling_text(scores: pd.DataFrame) -> str:
    """Whether ``oracle_phase`` bounds the candidates in the metrics where it should; Markdown."""
    metrics, passing = scored_metrics(scores, BOUNDED), []
    for metric in metrics:
        table = scores.pivot(index=["clip", "vae"], columns="method", values=metric)
        ahead = table[candidates(scores)].sub(table["oracle_phase"], axis=0).stack()
        ahead = ahead[ahead > 0 if METRICS[metric].best == "higher" else ahead < 0]
        passing += [
            f"{METHODS[name].label} in {METRICS[metric].label} on {clip}"
            + ("" if vae else ", no VAE")
            for clip, vae, name in ahead.index
        ]
    if passing:
        return f"The oracle phase is **no ceiling** here. It is passed by {'; '.join(passing)}."
    names = ", ".join(METRICS[m].label for m in metrics)
    return f"No method passes the oracle phase on any clip, with or without the VAE, in {names}."


# ------------------------------------------------------------------ text


def count(n: int, thing: str) -> str:
    """``1 clip``, ``3 clips``."""
    return f"{n} {thing}" + ("" if n == 1 else "s")


def heading(metric: str) -> str:
    """Label, unit and direction of a metric, for axes and column heads."""
    m = METRICS[metric]
    unit = f" ({m.unit})" if m.unit else ""
    return f"{m.label}{unit} {'↑' if m.best == 'higher' else '↓'}"


def mean_text(metric: str, mean: Mean, clips: int, best: float | None = None) -> str:
    """In bold if it reads like the best; with the number of clips if that is not all of them."""
    if mean.value is None:
        return "no value"
    text = f"{mean.value:.{DECIMALS[metric]}f}"
    if best is not None and text == f"{best:.{DECIMALS[metric]}f}":
        text = f"**{text}**"
    return text if mean.scored == clips else f"{text} ({mean.scored} of {clips})"


def as_markdown(table: pd.DataFrame) -> str:
    """A table as Markdown, its index as the first column."""

    def line(cells: Iterable[object]) -> str:
        return "| " + " | ".join(str(c).replace("|", "\\|") for c in cells) + " |"

    head = line([table.index.name or "", *table.columns])
    rows = [line([i, *row]) for i, row in zip(table.index, table.to_numpy(), strict=True)]
    return "\n".join([head, "|" + " --- |" * (table.shape[1] + 1), *rows])
