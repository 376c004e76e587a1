"""What the commands print: tables of scores, and error messages."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click

from vaerecon.methods import METHODS, get_method
from vaerecon.metrics.scores import METRICS, ON_REQUEST
from vaerecon.utils.console import printable

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from vaerecon.metrics.scores import Metric
    from vaerecon.pipeline.result import Reconstruction

PER_TABLE = 8  # metrics side by side in 120 columns


def new_console() -> Console:
    """Where the commands print: as wide as the terminal, else 120 columns."""
    from rich.console import Console

    # a table in a pipe or a log is not bound to 80 columns
    return Console(highlight=False, width=None if sys.stdout.isatty() else 120)


def plain(text: str) -> str:
    """A name as it is, although rich reads ``[bold]`` as markup."""
    from rich.markup import escape

    return escape(printable(text))


def stop(message: str, status: int) -> NoReturn:
    """Say what went wrong, and end with that exit status."""
    click.echo(f"error: {message}", err=True)
    sys.exit(status)


def _print_scores(
    console: Console, time: str, shown: list[Metric], rows: list[tuple[str, bool, str, list[str]]],
    per_table: int = PER_TABLE,
) -> None:  # fmt: skip
    """Print rows (method, through the VAE, time, a cell for each metric of ``shown``).

    A table of many metrics is printed in parts, so that none is too wide.
    """
    from rich.table import Table

    for first in range(0, max(1, len(shown)), per_table):
        some = slice(first, first + per_table)
        table = Table("method", "VAE", box=None, header_style="bold", pad_edge=False)
        for head in (time, *(f"{m.label} {m.arrow}\n{m.unit}" for m in shown[some])):
            table.add_column(head, justify="right")
        for label, through_vae, seconds, cells in rows:
            table.add_row(label, "yes" if through_vae else "no", seconds, *cells[some])
        console.print(table)
        if some.stop < len(shown):
            console.print()


def show_scores(result: Reconstruction, console: Console, metrics: str = "main") -> None:
    """The summary table, what each number does not tell, and the recommendation."""
    shown = [
        metric
        for metric in METRICS.values()
        if (metric.terminal or metrics == "all")
        and any(f.scores[metric.name] is not None for f in result.methods.values())
    ]
    console.print(
        f"VAE alone: mean log-mel difference {result.vae_mae:.3f} nepers; "
        f"latent {result.latent_shape}, {_times(1 / result.ratio_to_mel)} values as the mel\n"
    )
    rows = []
    for through_vae, group in ((True, result.methods), (False, result.without_vae)):
        for name, found in group.items():
            values = [found.scores[metric.name] for metric in shown]
            cells = ["-" if value is None else f"{value:.2f}" for value in values]
            rows.append((get_method(name).label, through_vae, f"{found.seconds:.2f}", cells))
    _print_scores(console, "time\ns", shown, rows)
    if not shown:
        reason = next(iter(next(iter(result.methods.values())).scores.notes.values()))
        console.print(f"\nNo metric has a value: {reason}.")
        return
    console.print("\n↑ higher is better, ↓ lower is better, - not computable (see the notes in the "
                  "analysis). What each number does not tell:", style="dim")  # fmt: skip
    for metric in shown:
        console.print(f"  {metric.label}: {metric.caveat}", style="dim")
    console.print(f"\nRecommended: {result.recommendation_text}.")


def _choices_over_clips(table: pd.DataFrame) -> list[str]:
    from vaerecon.metrics.recommendation import recommend

    rows = table[table["method"].isin(METHODS)]
    able = [name for name in rows["method"].unique() if not METHODS[name].reference_only]
    scores = rows.assign(clip=rows["file"], vae=rows["through_vae"].astype(bool))
    found = []
    for choice in recommend(scores, able) if able else []:
        if math.isinf(choice.budget):
            label = METHODS[choice.method].label if choice.method else "no method"
            found.append(f"for {choice.panel} {label} ({choice.certainty})")
    return found or ["nothing, for want of methods"]


def _times(share: float) -> str:
    """A share in words; of a very short mel, which is padded, the latent has more values."""
    known = {0.5: "half as many", 1.0: "as many"}
    return known.get(round(share, 2), f"{share:.2g} times as many")


def show_comparison(
    table: pd.DataFrame, console: Console, metrics: str = "main", by: str | None = None
) -> None:
    """Means over the clips, for each model and each group of ``by``; then the clips that failed."""
    clips = table["file"].nunique()
    done = table.dropna(subset="method")
    console.print(f"{done['file'].nunique()} of {clips} clips measured; means over them (in "
                  "brackets: over how many, where a metric has no value for some)\n")  # fmt: skip
    names = [*(["model"] if table["model"].nunique() > 1 else []), *([by] if by else [])]
    for key, group in done.groupby(names, sort=False) if names else [((), done)]:
        if names:
            pairs = zip(names, key, strict=True)
            title = ", ".join(f"{name} {plain(str(one))}" for name, one in pairs)
            console.print(f"[bold]{title}[/] ({_clip_count(group, by)})\n")
        _show_means(group, console, metrics, intervals=by is not None)
        console.print()
    _show_failed(table.dropna(subset="error"), console)


def _clip_count(group: pd.DataFrame, by: str | None) -> str:
    from vaerecon.comparison.intervals import FEWEST

    n = group["file"].nunique()
    few = f": too few for intervals, which need {FEWEST}" if by and n < FEWEST else ""
    return f"{n} clip{'s' * (n != 1)}{few}"


def _show_means(table: pd.DataFrame, console: Console, metrics: str, intervals: bool) -> None:
    from vaerecon.comparison.intervals import FEWEST
    from vaerecon.comparison.table import summarize

    means, measured = summarize(table, intervals=intervals), table["file"].nunique()
    wanted = [metric for metric in METRICS.values() if metric.terminal or metrics == "all"]
    shown = [metric for metric in wanted if means[metric.name, "count"].any()]
    rows = []
    for (through_vae, method), row in zip(means.index, means.to_dict("records"), strict=True):
        cells = []
        for metric in shown:
            value, count = row[metric.name, "mean"], int(row[metric.name, "count"])
            some = f" ({count})" if 0 < count < measured else ""
            if intervals and count >= FEWEST:
                some += f"\n{row[metric.name, 'lower']:.2f}..{row[metric.name, 'upper']:.2f}"
            cells.append(f"{value:.2f}{some}" if count else "-")
        factor = f"{row['real_time_factor', 'mean']:.3f}".replace("nan", "-")
        label = get_method(method).label if method in METHODS else method  # or a codec
        rows.append((label, through_vae, factor, cells))
    if measured:
        _print_scores(console, "real-time\nfactor", shown, rows, 5 if intervals else PER_TABLE)
        console.print(f"\nRecommended: {'; '.join(_choices_over_clips(table))}.")
    if measured and not shown:
        console.print("\nNo metric has a value; the table's column notes says why.")


def show_evaluation(table: pd.DataFrame, console: Console, asked: list[str]) -> None:
    """Means over the pairs, what each number does not tell, the lag, the distances of sets."""
    from rich.table import Table

    facts: dict[str, Any] = {"lag": "unknown", "lag_basis": "not in a CSV file", "sets": []}
    facts.update({str(key): value for key, value in table.attrs.items()})
    console.print(f"{table['method'].count()} of {len(table)} pairs measured; lag "
                  f"{facts['lag']} samples ({facts['lag_basis']})\n")  # fmt: skip
    shape = Table("metric", "mean", "pairs", "what it does not tell", box=None, pad_edge=False)
    for metric in [one for one in (*METRICS.values(), *ON_REQUEST.values()) if one.name in table]:
        values = table[metric.name].dropna()
        if len(values) and (metric.terminal or "all" in asked or metric.name in asked):
            mean = metric.text(values.mean())
            shape.add_row(metric.heading, mean, str(len(values)), metric.caveat)
    console.print(shape if shape.row_count else "No metric has a value: see the column notes.")
    for found in facts["sets"]:
        sizes = " and ".join(map(str, found["embeddings"]))
        console.print(f"\nBoth sets over {plain(found['embedding'])}: {sizes} embeddings")
        for name in ("frechet", "kernel"):
            reason = found["notes"].get(name)
            console.print(f"  {name} {f'- ({reason})' if reason else f'{found[name]:.4g}'}")
    _show_failed(table.dropna(subset="error"), console)


def show_sweep(table: pd.DataFrame, console: Console) -> None:
    """Means over the clips by setting, those on the front marked; then the clips that failed."""
    from rich.table import Table

    from vaerecon.comparison.grid import mean_settings, pareto_front

    means = mean_settings(table)
    measured = table.dropna(subset="method")["file"].nunique()
    metric = next((m for m in ("pesq_wb", "log_mel_mae") if means[m].notna().any()), None)
    if metric:
        front = pareto_front(means, metric)
        best = set(zip(front["setting"], front["method"], strict=True))
        shown = [m for m in METRICS.values() if m.terminal and means[m.name].notna().any()]
        shape = Table("setting", "method", box=None, header_style="bold", pad_edge=False)
        for head in ("values/s", "own mel ↓\nnepers", *(f"{m.label} {m.arrow}" for m in shown)):
            shape.add_column(head, justify="right")
        for row in means.to_dict("records"):
            cells = [METRICS[m.name].text(row[m.name]).replace("nan", "-") for m in shown]
            mark = " *" if (row["setting"], row["method"]) in best else ""
            shape.add_row(f"{row['setting']}{mark}", row["method"],
                          f"{row['values_per_second']:.0f}", f"{row['own_log_mel_mae']:.3f}",
                          *cells)  # fmt: skip
        console.print(f"Means over {measured} clips; * no other setting has both fewer values and "
                      f"a better {METRICS[metric].label}\n")  # fmt: skip
        console.print(shape)
    _show_failed(table.dropna(subset="error"), console)


def _show_failed(failed: pd.DataFrame, console: Console) -> None:
    from rich.text import Text

    if len(failed):
        console.print(f"\n{failed['file'].nunique()} failed:")
    failed = failed.drop_duplicates(["file", "error"])  # by several models
    for file, reason in zip(failed["file"], failed["error"], strict=True):
        console.print(Text(f"  {printable(file)}: {printable(reason)}"))
