"""The scores of a table of many clips: means with intervals, differences, best and worst clips.

What is compared are systems: a method, with its model and its setting of the mel where the table
has several. Notebook: ``table_report.ipynb`` beside this file.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from vaerecon.comparison.intervals import Interval, bootstrap_difference, bootstrap_mean
from vaerecon.lab.tables import count, mean_text
from vaerecon.methods import METHODS
from vaerecon.metrics.recommendation import Recommendation, recommend
from vaerecon.metrics.scores import METRICS, ON_REQUEST, Mean, Metric
from vaerecon.utils.console import printable

if TYPE_CHECKING:
    import pandas as pd

MOST_GROUPS = 20  # more are no overview
EXTREMES = 3  # worst clips, and best ones


def system_scores(table: pd.DataFrame) -> pd.DataFrame:
    """The measured rows of a table, with ``clip`` (the file), ``system``, and ``vae``.

    ``vae`` is whether a row is through the VAE, and True of all rows where none is: such a table
    knows no VAE. Metrics without any value are left out.
    """
    rows = table.dropna(subset="method")
    rows = rows.drop(columns=[m.name for m in metrics_of(rows) if rows[m.name].isna().all()])
    system = rows["method"].map(lambda name: METHODS[name].label if name in METHODS else name)
    for column in ("model", "setting"):
        if column in rows and rows[column].nunique() > 1:
            system += (" (" + rows[column] + ")").fillna("")
    through = rows.get("through_vae", rows["method"].isna()).fillna(False).astype(bool)
    vae = through if through.any() else ~through
    return rows.assign(clip=rows["file"], system=system.astype(object), vae=vae)


def metrics_of(scores: pd.DataFrame) -> list[Metric]:
    """Those that a table has a column of."""
    known = [*METRICS.values(), *ON_REQUEST.values()]
    return [metric for metric in known if metric.name in scores]


def sources(scores: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Title -> rows: through the VAE, and without it, if there are any."""
    if scores["vae"].all():
        return {"": scores}
    through = scores["vae"]
    return {"Through the VAE": scores[through], "Without the VAE": scores[~through]}


def compared(scores: pd.DataFrame) -> dict[str, str]:
    """System -> its method, in the order of the table; silence and oracles are left out."""
    found = dict(zip(scores["system"], scores["method"], strict=True))
    able = {s: m for s, m in found.items() if m not in METHODS or not METHODS[m].reference_only}
    return able or found


def main_metric(scores: pd.DataFrame) -> Metric:
    """That to judge clips by: one that may rank, for every kind of sound if there is such a one."""
    return max(metrics_of(scores), key=lambda metric: (metric.bold, len(metric.panels)))


def grouping(scores: pd.DataFrame, by: str = "") -> str:
    """The column ``by``, by default domain or model where there are several; "" for neither."""
    sizes = {name: scores[name].nunique() for name in (by or "domain", "model") if name in scores}
    if by and not 0 < sizes.get(by, 0) <= MOST_GROUPS:
        raise ValueError(
            f"--by: got {by!r}, expected a column of the table with {MOST_GROUPS} values at most, "
            "such as domain"
        )
    return by or next((name for name, n in sizes.items() if 1 < n <= MOST_GROUPS), "")


def groups(scores: pd.DataFrame, column: str) -> dict[str, pd.DataFrame]:
    """Name and number of clips -> rows, for each value of a column; none of the column ""."""
    parts = scores.groupby(column, sort=False) if column else ()
    return {f"{_code(name)}, {count(r['clip'].nunique(), 'clip')}": r for name, r in parts}


def choices(scores: pd.DataFrame) -> list[Recommendation]:
    """The system recommended for each panel, at any cost, by the rules of the kit."""
    import pandas as pd

    rows = scores[scores["vae"]]
    systems = compared(rows)
    # a codec at a rate only stands beside the methods
    able = [name for name, method in systems.items() if method in METHODS] or list(systems)
    every = pd.MultiIndex.from_product([rows["clip"].unique(), able], names=["clip", "method"])
    values = rows.assign(method=rows["system"]).set_index(["clip", "method"])
    # without values where a clip was not measured by all
    full = values[[metric.name for metric in metrics_of(rows)]].reindex(every).reset_index()
    full = full.assign(vae=True, real_time_factor=0.0)
    return [choice for choice in recommend(full, able) if math.isinf(choice.budget)]


def reference_system(scores: pd.DataFrame, against: str = "") -> str:
    """The system of that name, or method; without a name, the recommended one for any sound.

    A ValueError for a name that fits none, or several.
    """
    systems = compared(scores[scores["vae"]])
    if not against:
        found = [choice.method for choice in choices(scores) if choice.method]
        return found[-1] if found else next(iter(systems))
    fits = [name for name, method in systems.items() if against in (name, method)]
    if len(fits) != 1:
        raise ValueError(f"--against: got {against!r}, expected one of {', '.join(systems)}")
    return fits[0]


def mean_table(rows: pd.DataFrame, bold: bool) -> pd.DataFrame:
    """Systems x metrics as text: means over the clips and their 95 % intervals.

    ``bold`` chooses the metrics: True those by which systems may be ranked, with the best in bold
    if all have the same number of clips; False the others. Where fewer clips have a value than
    were measured, their number stands in brackets.
    """
    import pandas as pd

    each, able = dict(list(rows.groupby("system", sort=False))), compared(rows)
    clips = [len(part) for part in each.values()]
    table = pd.DataFrame({"clips": clips}, index=pd.Index(list(each), name="method"))
    for metric in [metric for metric in metrics_of(rows) if metric.bold == bold]:
        means = {name: bootstrap_mean(part[metric.name]) for name, part in each.items()}
        values = [metric.sign * means[name].mean for name in able]
        same = len(able) > 1 and len({means[name].n for name in able}) == 1
        best = metric.sign * max(values) if bold and same else None
        cells = []
        for name, mean in means.items():
            value = Mean(mean.mean if mean.n else None, mean.n)
            text = mean_text(metric.name, value, len(each[name]), best if name in able else None)
            text = text.replace(" ", "\N{NO-BREAK SPACE}")
            ends = f", {metric.text(mean.lower)}..{metric.text(mean.upper)}"
            cells.append(text if math.isnan(mean.lower) else text + ends)
        table[metric.heading] = cells
    return table


def differences(scores: pd.DataFrame, reference: str) -> dict[Metric, dict[str, Interval]]:
    """Metric -> other system -> its values minus those of the reference, paired by clip."""
    rows = scores[scores["vae"]]
    found = {}
    for metric in [metric for metric in metrics_of(rows) if metric.bold]:
        values = rows.pivot(index="clip", columns="system", values=metric.name)
        others = [name for name in compared(rows) if name != reference]
        found[metric] = {n: bootstrap_difference(values[n], values[reference]) for n in others}
    return found


def extremes(scores: pd.DataFrame, system: str) -> pd.DataFrame:
    """One system's rows of its worst and its best clips by :func:`main_metric`, worst first."""
    metric = main_metric(scores)
    rows = scores[scores["vae"] & (scores["system"] == system)].dropna(subset=metric.name)
    rows = rows.sort_values(metric.name, ascending=metric.sign > 0, kind="stable")
    both = [*range(EXTREMES), *range(-EXTREMES, 0)]
    return rows.iloc[both] if len(rows) > len(both) else rows


# ------------------------------------------------------------------ text


def _code(name: object) -> str:
    """A name, or a message with names in it, in Markdown as it is."""
    return f"`{printable(str(name)).replace('`', chr(39))}`"


def measured_text(table: pd.DataFrame, scores: pd.DataFrame) -> str:
    """What was measured, and what failed and why; Markdown."""
    labels = [METHODS[m].label if m in METHODS else m for m in scores["method"].unique()]
    clips = scores.drop_duplicates("clip")
    lines = [
        f"- Measured: {len(clips)} of {count(table['file'].nunique(), 'clip')}.",
        f"- Methods: {', '.join(labels)}.",
    ]
    for column in ("model", "domain", "setting"):
        if column in scores and scores[column].notna().any():
            sizes = scores.groupby(column, sort=False)["clip"].nunique()
            each = ", ".join(f"{_code(name)} ({count(n, 'clip')})" for name, n in sizes.items())
            lines.append(f"- {column.capitalize()}: {each}.")
    if "duration_s" in clips:
        s = clips["duration_s"]
        lines.append(f"- Lengths: {s.min():.1f} to {s.max():.1f} s, together {s.sum():.1f} s.")
    failed = table[table["method"].isna()].reindex(columns=["file", "error"]).drop_duplicates()
    if len(failed):  # with several models, one that fails with each has as many rows
        lines.append(f"- Failed: {count(failed['file'].nunique(), 'clip')}.")
        pairs = failed.fillna("no reason given").itertuples(index=False)
        lines += [f"    - {_code(file)}: {_code(reason)}" for file, reason in pairs]
    return "\n".join(lines)


def choice_text(scores: pd.DataFrame, column: str = "") -> str:
    """What is recommended over all clips and for each group, and how sure that is; Markdown."""
    every = {f"All, {count(scores['clip'].nunique(), 'clip')}": scores, **groups(scores, column)}
    lines = ["**Recommended**, time aside:", ""]
    for name, rows in every.items():
        found = [
            f"for {choice.panel} **{choice.method}** ({choice.certainty})"
            if choice.method
            else f"for {choice.panel} none, since no clip could be ranked"
            for choice in choices(rows)
        ]
        lines.append(f"- {name}: {'; '.join(found)}.")
    return "\n".join(lines)


def difference_text(found: dict[Metric, dict[str, Interval]], reference: str) -> str:
    """Which systems differ from the reference by more than chance; Markdown."""
    if not any(found.values()):
        return f"There is nothing to compare **{reference}** with."
    lines = [f"Against **{reference}**; better or worse if the whole interval is:", ""]
    for metric, others in found.items():
        words: dict[str, list[str]] = {"better": [], "worse": [], "not settled": []}
        sizes = {mean.n for mean in others.values()}
        for name, mean in others.items():
            ends = [metric.sign * end for end in (mean.lower, mean.upper)]
            word = "better" if min(ends) > 0 else "worse" if max(ends) < 0 else "not settled"
            words[word].append(name if len(sizes) == 1 else f"{name} ({count(mean.n, 'clip')})")
        each = "; ".join(f"{word}: {', '.join(names)}" for word, names in words.items() if names)
        clips = f" ({count(min(sizes), 'clip')})" if len(sizes) == 1 else ""
        lines.append(f"- {metric.label}{clips}: {each}.")
    return "\n".join(lines)


def extremes_text(rows: pd.DataFrame, metric: Metric, system: str) -> str:
    """The worst and the best clips of a system, from worst to best; Markdown."""
    if rows.empty:
        return f"No clip has a value of **{system}** in {metric.label}."
    pairs = zip(rows["clip"], rows[metric.name], strict=True)
    each = [f"{i}. {_code(clip)}: {metric.text(value)}" for i, (clip, value) in enumerate(pairs, 1)]
    return "\n".join([f"**{system}**, {metric.title}, from the worst to the best:", "", *each])
