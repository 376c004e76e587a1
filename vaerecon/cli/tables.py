"""What the commands print: tables of scores, and error messages."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
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


def _print_table(
    console: Console, texts: list[str], numbers: list[str], shown: list[Metric],
    rows: list[list[str]], per_table: int = PER_TABLE,
) -> None:  # fmt: skip
    """Print rows of cells, one for each of ``texts``, ``numbers`` and the metrics ``shown``.

    A table of many metrics is printed in parts, so that none is too wide.
    """
    from rich.table import Table

    own = len(texts) + len(numbers)
    for first in range(0, max(1, len(shown)), per_table):
        part = slice(first, first + per_table)
        table = Table(*texts, box=None, header_style="bold", pad_edge=False)
        for head in (*numbers, *(f"{m.label} {m.arrow}\n{m.unit}" for m in shown[part])):
            table.add_column(head, justify="right")
        for row in rows:
            table.add_row(*row[:own], *row[own:][part])
        console.print(table)
        if part.stop < len(shown):
            console.print()


def _shown(asked: str | list[str], has_value: Callable[[str], object]) -> list[Metric]:
    """The main metrics, or ``"all"``, or those named; only those that have a value."""
    every = [*METRICS.values(), *ON_REQUEST.values()]
    wanted = [m for m in every if m.terminal or "all" in asked or m.name in asked]
    return [metric for metric in wanted if has_value(metric.name)]


def _number(value: float | None, decimals: int = 2) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.{decimals}f}"


def show_scores(result: Reconstruction, console: Console, metrics: str = "main") -> None:
    """The summary table, what each number does not tell, and the recommendation."""
    scores = [found.scores for found in result.methods.values()]
    shown = _shown(metrics, lambda name: any(one.get(name) is not None for one in scores))
    # a very short mel is padded, and its latent has more values
    share = {0.5: "half as many", 1.0: "as many"}.get(
        round(1 / result.ratio_to_mel, 2), f"{1 / result.ratio_to_mel:.2g} times as many"
    )
    console.print(
        f"VAE alone: mean log-mel difference {result.vae_mae:.3f} nepers; "
        f"latent {result.latent_shape}, {share} values as the mel\n"
    )
    rows = [
        [get_method(name).label, through_vae, _number(found.seconds),
         *(_number(found.scores[metric.name]) for metric in shown)]
        for through_vae, group in (("yes", result.methods), ("no", result.without_vae))
        for name, found in group.items()
    ]  # fmt: skip
    _print_table(console, ["method", "VAE"], ["time\ns"], shown, rows)
    if not shown:
        reason = next(iter(scores[0].notes.values()))
        console.print(f"\nNo metric has a value: {reason}.")
        return
    console.print("\n↑ higher is better, ↓ lower is better, - not computable (see the notes in the "
                  "analysis). What each number does not tell:", style="dim")  # fmt: skip
    for metric in shown:
        console.print(f"  {metric.label}: {metric.caveat}", style="dim")
    console.print(f"\nRecommended: {result.recommendation_text}.")


def show_comparison(
    table: pd.DataFrame, console: Console, metrics: str = "main", by: str | None = None
) -> None:
    """Means over the clips, for each model and each group of ``by``; then the clips that failed."""
    from vaerecon.comparison.intervals import FEWEST

    done = table.dropna(subset="method")
    console.print(f"{done['file'].nunique()} of {table['file'].nunique()} clips measured; means "
                  "over them (in brackets: over how many, where a metric has no value for some)\n",
                  )  # fmt: skip
    names = [*(["model"] if table["model"].nunique() > 1 else []), *([by] if by else [])]
    for key, group in done.groupby(names, sort=False) if names else [((), done)]:
        if names:
            pairs = zip(names, key, strict=True)
            title = ", ".join(f"{name} {plain(str(one))}" for name, one in pairs)
            n = group["file"].nunique()
            few = f": too few for intervals, which need {FEWEST}" if by and n < FEWEST else ""
            console.print(f"[bold]{title}[/] ({n} clip{'s' * (n != 1)}{few})\n")
        if len(group):
            _show_means(group, console, metrics, intervals=by is not None)
        console.print()
    _show_failed(table, console)


def _show_means(table: pd.DataFrame, console: Console, metrics: str, intervals: bool) -> None:
    from vaerecon.comparison.intervals import FEWEST
    from vaerecon.comparison.table import summarize
    from vaerecon.lab.reports.table_scores import choices, system_scores

    means, measured = summarize(table, intervals=intervals), table["file"].nunique()
    shown = _shown(metrics, lambda name: (name, "count") in means and means[name, "count"].any())
    rows = []
    for (through_vae, method), row in zip(means.index, means.to_dict("records"), strict=True):
        label = get_method(method).label if method in METHODS else method  # or a codec
        factor = _number(row["real_time_factor", "mean"], 3)
        rows.append([label, "yes" if through_vae else "no", factor])
        for metric in shown:
            cell, count = _number(row[metric.name, "mean"]), int(row[metric.name, "count"])
            if 0 < count < measured:
                cell += f" ({count})"
            if intervals and count >= FEWEST:
                cell += f"\n{row[metric.name, 'lower']:.2f}..{row[metric.name, 'upper']:.2f}"
            rows[-1].append(cell)
    per_table = 5 if intervals else PER_TABLE
    _print_table(console, ["method", "VAE"], ["real-time\nfactor"], shown, rows, per_table)
    found = [f"for {choice.panel} {choice.method or 'no method'} ({choice.certainty})"
             for choice in choices(system_scores(table))]  # fmt: skip
    console.print(f"\nRecommended: {'; '.join(found)}.")
    if not shown:
        console.print("\nNo metric has a value; the table's column notes says why.")


def show_evaluation(table: pd.DataFrame, console: Console, asked: list[str]) -> None:
    """Means over the pairs, what each number does not tell, the lag, the distances of sets."""
    from rich.table import Table

    facts: dict[str, Any] = {"lag": "unknown", "lag_basis": "not in a CSV file", "sets": []}
    facts.update({str(key): value for key, value in table.attrs.items()})
    console.print(f"{table['method'].count()} of {len(table)} pairs measured; lag "
                  f"{facts['lag']} samples ({facts['lag_basis']})\n")  # fmt: skip
    shape = Table("metric", "mean", "pairs", "what it does not tell", box=None, pad_edge=False)
    for metric in _shown(asked, lambda name: name in table and table[name].notna().any()):
        mean, n = metric.text(table[metric.name].mean()), table[metric.name].count()
        shape.add_row(metric.heading, mean, str(n), metric.caveat)
    console.print(shape if shape.row_count else "No metric has a value: see the column notes.")
    for found in facts["sets"]:
        sizes = " and ".join(map(str, found["embeddings"]))
        console.print(f"\nBoth sets over {plain(found['embedding'])}: {sizes} embeddings")
        for name in ("frechet", "kernel"):
            reason = found["notes"].get(name)
            console.print(f"  {name} {f'- ({reason})' if reason else f'{found[name]:.4g}'}")
    _show_failed(table, console)


def show_sweep(table: pd.DataFrame, console: Console) -> None:
    """Means over the clips by setting, those on the front marked; then the clips that failed."""
    from vaerecon.comparison.grid import mean_settings, pareto_front

    means = mean_settings(table)
    measured = table.dropna(subset="method")["file"].nunique()
    metric = next((m for m in ("pesq_wb", "log_mel_mae") if means[m].notna().any()), None)
    if metric:
        front = pareto_front(means, metric)
        best = set(zip(front["setting"], front["method"], strict=True))
        shown = _shown("main", lambda name: name in means and means[name].notna().any())
        rows = []
        for row in means.to_dict("records"):
            mark = " *" if (row["setting"], row["method"]) in best else ""
            rows.append([f"{row['setting']}{mark}", row["method"],
                         _number(row["values_per_second"], 0), _number(row["own_log_mel_mae"], 3),
                         *(m.text(row[m.name]).replace("nan", "-") for m in shown)])  # fmt: skip
        console.print(f"Means over {measured} clips; * no other setting has both fewer values and "
                      f"a better {METRICS[metric].label}\n")  # fmt: skip
        numbers = ["values/s", "own mel ↓\nnepers"]
        _print_table(console, ["setting", "method"], numbers, shown, rows, len(shown))
    _show_failed(table, console)


def _show_failed(table: pd.DataFrame, console: Console) -> None:
    from rich.text import Text

    failed = table.dropna(subset="error").drop_duplicates(["file", "error"])  # by several models
    if len(failed):
        console.print(f"\n{failed['file'].nunique()} failed:")
    for file, reason in zip(failed["file"], failed["error"], strict=True):
        console.print(Text(f"  {printable(file)}: {printable(reason)}"))
