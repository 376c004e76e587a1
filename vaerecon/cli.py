"""The command line. Nothing here imports torch until the input has been found to be good."""

from __future__ import annotations

import difflib
import importlib.util
import logging
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from vaerecon import __version__
from vaerecon.console import printable, run_command
from vaerecon.training.commands import train

if TYPE_CHECKING:
    from vaerecon.result import Findings

# the names of vaerecon.metrics.METRICS, which imports torch; a test holds them equal
METRIC_NAMES = (
    "snr_db",
    "si_sdr_db",
    "correlation",
    "rmse",
    "log_mel_mae",
    "lsd_db",
    "spectral_convergence_db",
    "mrstft",
    "pesq_wb",
    "stoi",
    "estoi",
    "visqol",
)
# what fits a terminal; everything is in analysis.json
SHOWN_METRICS = ("snr_db", "si_sdr_db", "log_mel_mae", "lsd_db", "pesq_wb", "stoi", "visqol")


class DefaultGroup(click.Group):
    """A group whose default command is ``reconstruct``: ``vaerecon song.wav`` works."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, *ctx.help_option_names, "--version"}:
            near = difflib.get_close_matches(args[0], self.commands, n=1)
            if near and not Path(args[0]).exists():
                raise click.UsageError(
                    f"got {args[0]!r}, expected a command or an audio file; "
                    f"did you mean {near[0]!r}?"
                )
            args.insert(0, "reconstruct")
        return super().parse_args(ctx, args)


@click.group(
    cls=DefaultGroup,
    context_settings={
        "help_option_names": ["-h", "--help"],
        # the original guide wrote --max_length and --output_dir
        "token_normalize_func": lambda name: name.replace("_", "-"),
    },
)
@click.version_option(__version__)
def cli() -> None:
    """Show, play and measure what AudioLDM2's VAE does to sound.

    The default command is `reconstruct`: `vaerecon song.wav` sends a clip through the VAE and back.
    """


cli.add_command(train)


def _synthesis_options(
    command: click.decorators.FC, methods: str = "vocoder,fast,griffinlim"
) -> click.decorators.FC:
    """Options that every command which synthesizes shares."""
    options = [
        click.option("--methods", default=methods, show_default=True,
                     help="Names with commas between, or 'all'."),
        click.option("--device", type=click.Choice(["cpu", "cuda", "mps"]),
                     help="Where to run. [default: the best there is]"),
        click.option("--dtype", default="auto", show_default=True,
                     type=click.Choice(["auto", "float32", "float16", "bfloat16", "mixed"])),
        click.option("--seed", default=0, show_default=True, help="Seed of every random draw."),
        click.option("--exclude-metric", "exclude_metrics", multiple=True,
                     type=click.Choice([n.replace("_", "-") for n in METRIC_NAMES]),
                     help="Leave a metric out; visqol is the slowest. May be repeated."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@cli.command()
@click.argument("clip", required=False, type=click.Path(path_type=Path))
@click.option("--model", default="tiny", show_default=True,
              help="tiny, music, speech, large, a folder, or a hub id (owner/name).")  # fmt: skip
@click.option("--revision", help="Branch, tag or commit of a hub id.")
@click.option("--max-length", type=float, help="Read at most this many seconds.")
@click.option("--output-dir", type=click.Path(path_type=Path),
              help="[default: results/<clip>_<model>_<time>]")  # fmt: skip
@click.option("--chunk-seconds", default=30.0, show_default=True, type=click.FloatRange(8, 3600),
              help="Longest stretch that goes through a model at once; less takes less memory.",
              )  # fmt: skip
@_synthesis_options
def reconstruct(clip, model, revision, max_length, output_dir, chunk_seconds, **options):
    """Send CLIP through the VAE and back, measure it, and write what was heard and found.

    Without CLIP, a bundled one is taken. A clip may be hours long: it is read and written piece by
    piece.
    """
    clip = clip or _demo_clip()
    if output_dir is None:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        output_dir = Path("results") / f"{clip.stem}_{Path(model).name}_{stamp}"
    _run(clip, max_length, model, revision, output_dir, chunk_seconds=chunk_seconds, **options)


@cli.command()
@click.option("--output-dir", default=Path("results/demo"), show_default=True,
              type=click.Path(path_type=Path))  # fmt: skip
@_synthesis_options
def demo(output_dir, **options):
    """Reconstruct a bundled clip with the bundled tiny model. Needs no network."""
    _run(_demo_clip(), None, "tiny", None, output_dir, **options)


@cli.command()
@click.argument("clips", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--output", required=True, type=click.Path(path_type=Path),
              help="The table to write: a .parquet or .csv file.")  # fmt: skip
@click.option("--model", default="tiny", show_default=True,
              help="tiny, music, speech, large, a folder, or a hub id (owner/name).")  # fmt: skip
@click.option("--revision", help="Branch, tag or commit of a hub id.")
@click.option("--max-length", type=float, help="Read at most this many seconds of each clip.")
@click.option("--no-vae-free", is_flag=True,
              help="Only what went through the VAE: half the rows, and half the time.")  # fmt: skip
@click.option("--workers", type=click.IntRange(min=0),
              help="Processes; 1 works without any. [default: one a core]")  # fmt: skip
@click.option("--threads", default=1, show_default=True, type=click.IntRange(min=1),
              help="Of each worker. Another number rounds differently.")  # fmt: skip
@click.option("--scheduler", metavar="tcp://HOST:PORT",
              help="Use the workers of this Dask scheduler.")  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on with a run that was not finished.")
@click.option("--overwrite", is_flag=True,
              help="Replace the table, or the unfinished run, that is there.")  # fmt: skip
@partial(_synthesis_options, methods="all")
def compare(clips, output, no_vae_free, exclude_metrics, **options):
    """Measure every method on every clip of CLIPS (files and folders); write one table.

    A row for each clip, method, and with or without the VAE. A clip that fails is one row with its
    reason. What is finished outlives a kill: the same command with --resume goes on. Exit status
    1: no clip could be measured.
    """
    from vaerecon.comparison import compare as run
    from vaerecon.journal import journal_path

    options["exclude_metrics"] = [name.replace("-", "_") for name in exclude_metrics]
    try:
        table = run(clips, output=output, without_vae=not no_vae_free, **options)
    except (KeyboardInterrupt, OSError):
        if journal_path(output).exists():
            click.echo("What is finished is kept: --resume goes on with it.", err=True)
        raise
    _show_comparison(table, _console())
    click.echo(f"\nWritten: {output} ({len(table)} rows)")
    if table["method"].isna().all():
        _stop("none of the clips could be measured", 1)


@cli.command()
def models() -> None:
    """List the variants: what each is for, its size, what is cached, and its licence."""
    from rich.table import Table

    from vaerecon.checkpoints import describe

    table = Table("variant", "source", "for", "download", "cached", "licence", box=None)
    for row in describe():
        table.add_row(*row)
    _console().print(table)


@cli.command()
@click.argument("clip", required=False, type=click.Path(path_type=Path))
@click.option("--output", default=Path("report.html"), show_default=True,
              type=click.Path(path_type=Path), help="The page to write.")  # fmt: skip
@click.option("--model", default="tiny", show_default=True,
              help="tiny, music, speech, large, a folder, or a hub id (owner/name).")  # fmt: skip
@click.option("--methods", default="all", show_default=True,
              help="Names with commas between, or 'all'.")  # fmt: skip
@click.option("--max-length", type=float,
              help="Read at most this many seconds. [default: as the notebook says]")  # fmt: skip
@click.option("--seed", default=0, show_default=True, help="Seed of every random draw.")
@click.option("--timeout", default=1800.0, show_default=True, type=click.FloatRange(min=1),
              help="Seconds that it may take.")  # fmt: skip
def report(clip, output, model, methods, max_length, seed, timeout):
    """Compare methods on CLIP and write one HTML page, sounds in it, that needs no network.

    It is the notebook 04_method_comparison with its code hidden. Exit status 3: it did not run to
    its end, and what there was stands in <output>.failed.html.
    """
    from vaerecon.audio import load_audio
    from vaerecon.checkpoints import check_source
    from vaerecon.methods import select_methods

    select_methods(methods)
    check_source(model)
    clip = clip or _demo_clip()
    name = load_audio(clip, max_length=max_length).name
    _need_notebook_packages()
    from vaerecon.lab.report import write_report
    from vaerecon.lab.runs import NotebookError

    options = {"model": model, "methods": methods, "max_length": max_length, "seed": seed}
    with _console().status(f"{_plain(name)} through {_plain(model)} ..."):
        try:
            write_report(clip, output, **options, timeout=timeout)
        except NotebookError as error:
            _stop(str(error), 3)
    click.echo(f"Written: {output} ({output.stat().st_size / 1e6:.1f} MB)")


@cli.command()
@click.argument("notebooks", nargs=-1)
@click.option("--update", is_flag=True, help="Take what is measured now as the new baseline.")
@click.option("--notebooks-dir", default=Path("notebooks"), show_default=True,
              type=click.Path(path_type=Path), help="With a checks.yaml in it.")  # fmt: skip
@click.option("--baselines", default=Path("tests/baselines"), show_default=True,
              type=click.Path(path_type=Path), help="One JSON a notebook.")  # fmt: skip
@click.option("--output-dir", default=Path("reports"), show_default=True,
              type=click.Path(path_type=Path), help="For the executed notebooks.")  # fmt: skip
def check(notebooks, update, notebooks_dir, baselines, output_dir):
    """Run NOTEBOOKS (default: all) and compare what they measure with the baselines.

    Exit status 1: a number moved by more than its tolerance. 3: a notebook did not run to its end.
    """
    from vaerecon.lab import baselines as known

    _need_notebook_packages()
    checks = known.read_checks(notebooks_dir, notebooks)
    before = {entry.name: known.read_baseline(baselines, entry.name) for entry in checks}
    runs, failures = _run_checks(checks, output_dir)
    if update and not failures:
        renewed = {name: known.renew(before[name], run) for name, run in runs.items()}
        known.write_baselines(baselines, renewed)
        click.echo(f"Written to {baselines}: {', '.join(f'{name}.json' for name in renewed)}")
        return
    drifted = 0
    for name, run in runs.items():
        drifts = known.compare(before[name], run)
        drifted += len(drifts)
        if drifts:
            _show_drifts(name, drifts, known.other_libraries(before[name], run))
    if failures:
        kept = "; no baseline was changed" if update else ""
        _stop(f"did not run to their end: {', '.join(failures)}{kept}", 3)
    if drifted:
        _stop(f"{drifted} not as in the baselines; if that is meant: vaerecon check --update", 1)
    click.echo("All as in the baselines.")


def _run_checks(checks, output_dir):
    """Run each; name to run of those that ended, and names of the others."""
    from vaerecon.lab.runs import NotebookError, run_notebook

    runs, failures = {}, []
    for entry in checks:
        try:
            with _console().status(f"{entry.name} ..."):
                run = run_notebook(entry.path, entry.parameters, output_dir,
                                   timeout=entry.timeout, files=entry.files, cpu=True)  # fmt: skip
        except NotebookError as error:
            failures.append(entry.name)
            click.echo(f"error: {error}", err=True)
            continue
        runs[entry.name] = run
        click.echo(f"{entry.name}: {len(run.records)} numbers, {run.stamp['seconds']:.0f} s")
    return runs, failures


def _show_drifts(name, drifts, differences) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, title=f"\n{name}: not as in the baseline", title_justify="left")
    for column in ("number", "baseline", "now", "moved by", "allowed", "because"):
        table.add_column(column, no_wrap=column == "number")
    for drift in drifts:
        row = (drift.metric, drift.was, drift.now, drift.moved, drift.allowed, drift.reason)
        table.add_row(*map(Text, row))  # as they are, no markup
    _console().print(table)
    if differences:
        click.echo(f"The baseline was made with {'; '.join(differences)}.")


def _need_notebook_packages() -> None:
    """Say at once what is missing, before anything is loaded."""
    if any(importlib.util.find_spec(name) is None for name in ("papermill", "nbconvert")):
        raise click.UsageError(
            "this command runs notebooks, and papermill or nbconvert is not installed: "
            "pip install 'vaerecon[notebooks]'"
        )


def _stop(message: str, status: int) -> NoReturn:
    click.echo(f"error: {message}", err=True)
    sys.exit(status)


def _demo_clip() -> Path:
    from vaerecon.bundled import DEMO_CLIP, demo_clips

    return demo_clips()[DEMO_CLIP]


def _run(clip, max_length, model, revision, output_dir, methods, device, dtype, seed,
         exclude_metrics, chunk_seconds=None) -> None:  # fmt: skip
    """Reconstruct, save, report. Cheap checks come first, torch after them."""
    from vaerecon.audio import look_at
    from vaerecon.checkpoints import check_source
    from vaerecon.methods import select_methods

    names = select_methods(methods)
    check_source(model)
    if output_dir.exists() and not output_dir.is_dir():
        raise NotADirectoryError(
            f"--output-dir: got {output_dir.name!r}, which is a file; name a folder"
        )
    seconds = look_at(clip, max_length)
    console = _console()
    name, source = map(_plain, (clip.stem, model))
    length = "" if seconds is None else f"{seconds:.2f} s, "
    console.print(f"[bold]{name}[/], {length}through [bold]{source}[/]")

    from vaerecon.pipeline import ReconstructionPipeline
    from vaerecon.tuning import use_free_cores

    pipe = ReconstructionPipeline.from_pretrained(
        model, revision=revision, device=device, dtype=dtype
    )
    use_free_cores(pipe.vae, pipe.vocoder)
    pipe.set_progress_bar_config(
        leave=False,
        disable=None,  # only on a terminal
        bar_format="{desc}: {percentage:3.0f}% {bar} {elapsed}, {remaining} left",
    )
    pipe.chunk_seconds = chunk_seconds or pipe.chunk_seconds
    skipped = [name.replace("-", "_") for name in exclude_metrics]
    result = pipe.reconstruct_file(
        clip, output_dir, names, max_length=max_length, seed=seed, exclude_metrics=skipped
    )
    _report(result, console)
    console.print(f"\nWritten to {printable(str(output_dir))}:", markup=False)
    for path in result.files:
        console.print(f"  {printable(path.name)}", highlight=False, markup=False)


def _report(result: Findings, console) -> None:
    """The summary table, and beneath it what each number does not tell."""
    from rich.table import Table

    from vaerecon.methods import get_method
    from vaerecon.metrics import METRICS

    shown = [
        n for n in SHOWN_METRICS if any(f.scores[n] is not None for f in result.methods.values())
    ]
    console.print(
        f"VAE alone: mean log-mel difference {result.vae_mae:.3f} nepers; "
        f"latent {result.latent_shape}, "
        f"{result.ratio_to_mel:.2g} times fewer values than the mel\n"
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
    console.print("\n↑ higher is better, ↓ lower is better, - not computable (see the notes in the "
                  "analysis). What each number does not tell:", style="dim")  # fmt: skip
    for name in shown:
        console.print(f"  {METRICS[name].label}: {METRICS[name].caveat}", style="dim")


def _show_comparison(table, console) -> None:
    """Means over the clips, then the clips that failed."""
    from rich.table import Table
    from rich.text import Text

    from vaerecon.comparison import summarize
    from vaerecon.methods import get_method
    from vaerecon.metrics import METRICS

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
        factor = f"{row['real_time_factor', 'mean']:.3f}"
        label = get_method(method).label
        shape.add_row(label, "yes" if through_vae else "no", factor, *cells)
    if measured:
        console.print(shape)
    if len(failed):
        console.print(f"\n{len(failed)} failed:")
    for file, reason in zip(failed["file"], failed["error"], strict=True):
        console.print(Text(f"  {printable(file)}: {printable(reason)}"))


def _plain(text: str) -> str:
    """A name as it is, where rich reads ``[bold]`` as an order."""
    from rich.markup import escape

    return escape(printable(text))


def _console():
    from rich.console import Console

    # a table in a pipe or a log is not bound to 80 columns
    return Console(highlight=False, width=None if sys.stdout.isatty() else 120)


def main() -> None:
    """Run the command line."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    run_command(cli)
