"""What the commands show on the terminal: tables of scores, and the line of an error."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

import click

from vaerecon.utils.console import printable

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from vaerecon.pipeline.result import Findings

# what fits a terminal; everything is in analysis.json
SHOWN_METRICS = ("snr_db", "si_sdr_db", "log_mel_mae", "lsd_db", "pesq_wb", "stoi", "visqol")


def model_option(command: click.decorators.FC) -> click.decorators.FC:
    """``--model``, which every command that runs one has."""
    return click.option("--model", multiple=True, default=["tiny"], show_default=True,
                        callback=_only_one,
                        help="tiny, music, speech, large, a folder, or a hub id (owner/name).",
                        )(command)  # fmt: skip


def _only_one(ctx: click.Context, option: click.Parameter, values: tuple[str, ...]) -> str:
    if len(values) > 1:  # click would take the last without a word
        raise click.BadParameter(f"got {', '.join(values)}, expected one; run the command for each")
    return values[0]


def new_console() -> Console:
    """Where the commands print: as wide as the terminal, else 120 columns."""
    from rich.console import Console

    # a table in a pipe or a log is not bound to 80 columns
    return Console(highlight=False, width=None if sys.stdout.isatty() else 120)


def plain(text: str) -> str:
    """A name as it is, where rich reads ``[bold]`` as an order."""
    from rich.markup import escape

    return escape(printable(text))


def stop(message: str, status: int) -> NoReturn:
    """Say what went wrong, and end with that exit status."""
    click.echo(f"error: {message}", err=True)
    sys.exit(status)


def show_scores(result: Findings, console: Console) -> None:
    """The summary table, and beneath it what each number does not tell."""
    from rich.table import Table

    from vaerecon.methods import get_method
    from vaerecon.metrics.scores import METRICS

    shown = [
        n for n in SHOWN_METRICS if any(f.scores[n] is not None for f in result.methods.values())
    ]
    console.print(
        f"VAE alone: mean log-mel difference {result.vae_mae:.3f} nepers; "
        f"latent {result.latent_shape}, {_fewer(result.ratio_to_mel)} the mel\n"
    )
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("method")
    table.add_column("VAE")
    table.add_column("time\ns", justify="right")
    for name in shown:
        metric = METRICS[name]
        arrow = "↑" if metric.best == "higher" else "↓"
        table.add_column(f"{metric.label} {arrow}\n{metric.unit}", justify="right")
    for through, group in (("yes", result.methods), ("no", result.without_vae)):
        for name, found in group.items():
            values = [found.scores[n] for n in shown]
            cells = ["-" if v is None else f"{v:.2f}" for v in values]
            table.add_row(get_method(name).label, through, f"{found.seconds:.2f}", *cells)
        table.add_section()
    console.print(table)
    if not shown:
        reason = next(iter(next(iter(result.methods.values())).scores.notes.values()))
        console.print(f"\nNo metric has a value: {reason}.")
        return
    console.print("\n↑ higher is better, ↓ lower is better, - not computable (see the notes in the "
                  "analysis). What each number does not tell:", style="dim")  # fmt: skip
    for name in shown:
        console.print(f"  {METRICS[name].label}: {METRICS[name].caveat}", style="dim")


def _fewer(ratio: float) -> str:
    """How the number of values in the latent compares; a very short mel is padded to a multiple."""
    if ratio > 1:
        return f"{ratio:.2g} times fewer values than"
    return "as many values as" if ratio == 1 else f"{1 / ratio:.2g} times more values than"


def show_comparison(table: pd.DataFrame, console: Console) -> None:
    """Means over the clips, then the clips that failed."""
    from rich.table import Table
    from rich.text import Text

    from vaerecon.comparison.run import summarize
    from vaerecon.methods import METHODS, get_method
    from vaerecon.metrics.scores import METRICS

    failed = table.dropna(subset="error")
    clips = table["file"].nunique()
    measured = clips - len(failed)
    console.print(f"{measured} of {clips} clips measured; means over them (in brackets: over how "
                  "many, where a metric has no value for some)\n")  # fmt: skip
    means = summarize(table)
    shown = [name for name in SHOWN_METRICS if means[name, "count"].any()]
    shape = Table(box=None, header_style="bold", pad_edge=False)
    for head in ("method", "VAE"):
        shape.add_column(head)
    shape.add_column("real-time\nfactor", justify="right")
    for name in shown:
        metric = METRICS[name]
        arrow = "↑" if metric.best == "higher" else "↓"
        shape.add_column(f"{metric.label} {arrow}\n{metric.unit}", justify="right")
    for (through_vae, method), row in means.iterrows():
        cells = []
        for name in shown:
            value, count = row[name, "mean"], int(row[name, "count"])
            some = f" ({count})" if 0 < count < measured else ""
            cells.append(f"{value:.2f}{some}" if count else "-")
        factor = f"{row['real_time_factor', 'mean']:.3f}".replace("nan", "-")
        label = get_method(method).label if method in METHODS else method  # or a codec
        shape.add_row(label, "yes" if through_vae else "no", factor, *cells)
    if measured:
        console.print(shape)
    if measured and not shown:
        console.print("\nNo metric has a value; the table's column notes says why.")
    if len(failed):
        console.print(f"\n{len(failed)} failed:")
    for file, reason in zip(failed["file"], failed["error"], strict=True):
        console.print(Text(f"  {printable(file)}: {printable(reason)}"))
