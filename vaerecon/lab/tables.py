"""The scores of a comparison as tables, and how a table reads as text.

Tables are long, one row a clip, method and source (``vae`` True: through the VAE), with one column
a metric and NaN where it has no value. Of several models each method has its model in its name,
``vocoder (music)``. *Candidates* are methods that make sound from a mel; the references are only to
compare with. Notebook: ``04_method_comparison``.
"""

from collections.abc import Iterable, Sequence

import pandas as pd

from vaerecon.methods import METHODS
from vaerecon.metrics.scores import METRICS, ON_REQUEST, Mean
from vaerecon.pipeline.result import Reconstruction


def by_model(results: Sequence[Reconstruction]) -> dict[str, list[Reconstruction]]:
    """The results by what their methods have behind their names: ``" (music)"``, or nothing if all
    are of one model."""
    models = dict.fromkeys(r.model.source for r in results)
    if len(models) == 1:
        return {"": list(results)}
    return {f" ({m})": [r for r in results if r.model.source == m] for m in models}


def row_name(method: str, model: str) -> str:
    """A method's name in a table; what uses no mel is the same with every model."""
    return method + model if METHODS[method].uses_mel else method


def split_name(name: str) -> tuple[str, str]:
    """A method's name in a table as its name in ``METHODS`` and what stands behind it."""
    method, bracket, model = name.partition(" (")
    return method, bracket + model


def label(name: str) -> str:
    """A method's name in a table as readers see it."""
    method, model = split_name(name)
    return METHODS[method].label + model


def score_table(results: Sequence[Reconstruction]) -> pd.DataFrame:
    """Every score, long: ``clip``, ``method``, ``vae``, ``seconds``, ``real_time_factor``, then
    the metrics; those that no clip has a value for are left out.

    Of several models, silence and ``oracle_magnitude`` have the rows of the first.
    """
    tables = [
        r.table.reset_index().assign(clip=r.clip.name, model=model)
        for model, group in by_model(results).items()
        for r in group
    ]
    table = pd.concat(tables, ignore_index=True)
    table["method"] = list(map(row_name, table["method"], table.pop("model")))
    table["vae"] = table["vae"].astype(bool)
    table = table.drop_duplicates(["clip", "method", "vae"], ignore_index=True)
    empty = [m for m in METRICS if m in table and table[m].isna().all()]
    return table.drop(columns=empty)


def candidates(scores: pd.DataFrame) -> list[str]:
    """The methods in a table that can be chosen, in its order."""
    return [n for n in scores["method"].unique() if not METHODS[split_name(n)[0]].reference_only]


def scored_metrics(scores: pd.DataFrame, wanted: Iterable[str] = METRICS) -> list[str]:
    """Those of ``wanted`` that the table has."""
    return [name for name in wanted if name in scores]


def overview_metrics() -> list[str]:
    """The metrics that an overview shows: those marked so, without the slow ones."""
    return [m.name for m in METRICS.values() if m.overview and not m.slow]


def means_through_vae(scores: pd.DataFrame, metric: str) -> pd.Series:
    """Means over the clips by method, through the VAE; NaN without a value."""
    return scores[scores["vae"]].groupby("method", sort=False)[metric].mean()


def mean_table(
    scores: pd.DataFrame, through_vae: bool, metrics: Iterable[str] = METRICS
) -> pd.DataFrame:
    """Means over the clips as text: methods x metrics, the best candidate in bold.

    Where fewer clips have a value than were run, the number that have one stands behind it. A
    metric by which methods should not be ranked (``bold`` False) has no best.
    """
    able, metrics = candidates(scores), scored_metrics(scores, metrics)
    rows = scores[scores["vae"] == through_vae].groupby("method", sort=False)
    means, scored, clips = rows[metrics].mean(), rows[metrics].count(), rows.size()
    table = pd.DataFrame(index=pd.Index(map(label, means.index), name="method"))
    for m in metrics:
        known, best = means[m][able].dropna(), None
        if METRICS[m].bold and len(known) > 1:
            best = known.max() if METRICS[m].best == "higher" else known.min()
        table[METRICS[m].heading] = [
            mean_text(m, Mean(value if n else None, n), clips[name], best if name in able else None)
            for name, value, n in zip(means.index, means[m], scored[m], strict=True)
        ]
    table["time / length"] = [f"{time:.3f}" for time in rows["real_time_factor"].median()]
    return table


def ceiling_text(scores: pd.DataFrame) -> str:
    """Whether ``oracle_phase`` bounds the candidates in the metrics where it should; Markdown."""
    metrics = [METRICS[m] for m in scored_metrics(scores) if METRICS[m].bounded]
    passing = []
    for metric in metrics:
        table = scores.pivot(index=["clip", "vae"], columns="method", values=metric.name)
        for name in candidates(scores):
            ceiling = table["oracle_phase" + split_name(name)[1]]
            ahead = metric.sign * (table[name] - ceiling) > 0
            passing += [
                f"{label(name)} in {metric.label} on {clip}" + ("" if vae else ", no VAE")
                for clip, vae in ahead[ahead].index
            ]
    if passing:
        return f"The oracle phase is **no ceiling** here. It is passed by {'; '.join(passing)}."
    names = ", ".join(metric.label for metric in metrics)
    return f"No method passes the oracle phase on any clip, with or without the VAE, in {names}."


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
