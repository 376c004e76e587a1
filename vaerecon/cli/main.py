"""The command line. Nothing here imports torch until the input has been found to be good."""

import difflib
import logging
import os
import time
from functools import partial
from pathlib import Path

import click

from vaerecon import __version__
from vaerecon.cli import tables
from vaerecon.cli.codec import decode, encode
from vaerecon.cli.notebooks import check, lab, report
from vaerecon.cli.options import (
    COUNT,
    PATH,
    Decorator,
    config_option,
    device_option,
    keep_settings,
    max_length_option,
    model_option,
    models_option,
    plugin_option,
    revision_option,
    seed_option,
    with_options,
)
from vaerecon.cli.streaming import stream
from vaerecon.cli.tables import new_console, plain, stop
from vaerecon.cli.train import train
from vaerecon.metrics.scores import METRICS
from vaerecon.utils.console import printable, run_command


class DefaultGroup(click.Group):
    """A group whose default command is ``reconstruct``: ``vaerecon song.wav`` works."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, *ctx.help_option_names, "--version"}:
            near = difflib.get_close_matches(args[0], self.commands, n=1)
            if near and args[0][0] != "-" and not Path(args[0]).exists():
                raise click.UsageError(f"got {args[0]!r}, expected a command or an audio file; did "
                                       f"you mean {near[0]!r}?")  # fmt: skip
            args.insert(0, "reconstruct")
        return super().parse_args(ctx, args)


@click.group(
    cls=DefaultGroup,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "show_default": True,
        # the original guide wrote --max_length and --output_dir
        "token_normalize_func": lambda name: name.replace("_", "-"),
    },
)
@click.version_option(__version__)
def cli() -> None:
    """Show, play and measure what AudioLDM2's VAE does to sound.

    The default command is `reconstruct`: `vaerecon song.wav` sends a clip through the VAE and back.
    """


for _command in (check, decode, encode, lab, report, stream, train):
    cli.add_command(_command)


def _synthesis_options(methods: str = "fast,griffinlim,vocoder") -> Decorator:
    """Options that every command which synthesizes shares."""
    return with_options(
        click.option("--methods", default=methods, help="Names with commas between, or 'all'."),
        plugin_option,
        device_option,
        click.option("--dtype", default="auto",
                     type=click.Choice(["auto", "float32", "float16", "bfloat16", "mixed"])),
        seed_option,
        click.option("--metrics", default="main", type=click.Choice(["main", "all"]),
                     help="Those shown in the terminal."),
        _metric_option(),
    )  # fmt: skip


def _read_metrics(ctx: click.Context, option: click.Parameter, given: tuple[str, ...]) -> list[str]:
    """Names of metrics; looked up here, not when this file is imported: a plug-in may add some."""
    names = click.Choice([name.replace("_", "-") for name in METRICS])
    return [names.convert(name, option, ctx).replace("-", "_") for name in given]


def _metric_option(*default: str) -> Decorator:
    return click.option("--exclude-metric", "exclude_metrics", multiple=True, default=default,
                        metavar="NAME", callback=_read_metrics,
                        help="Leave a metric out; visqol is the slowest. May be repeated.",
                        )  # fmt: skip


_TABLE = "The table to write: a .parquet or .csv file."


def _clips_and_output(required: bool, clips_required: bool = True) -> Decorator:
    return with_options(
        click.argument("clips", nargs=-1, required=clips_required, type=PATH),
        click.option("--output", required=required, type=PATH, help=_TABLE),
    )  # fmt: skip


_worker_options = with_options(
    click.option("--workers", type=click.IntRange(min=0),
                 help="Processes; 1 works without any. [default: one a core]"),
    click.option("--threads", default=1, type=COUNT,
                 help="Of each worker. Another number rounds differently."),
    config_option,
    click.option("--scheduler", metavar="tcp://HOST:PORT",
                 help="Use the workers of this Dask scheduler."),
    click.option("--resume", is_flag=True, help="Go on with a run that was not finished."),
    click.option("--overwrite", is_flag=True,
                 help="Replace the table, or the unfinished run, that is there."),
)  # fmt: skip


def _refuse_old_name(ctx: click.Context, option: click.Parameter, given: bool) -> None:
    if given:
        raise click.UsageError(f"{option.opts[0]} is now --only-through-vae", ctx)


def _read_values(
    ctx: click.Context, option: click.Parameter, given: tuple[str, ...]
) -> dict[str, list[float]]:
    """``n_fft=512,768`` and the like, by name."""
    found: dict[str, list[float]] = {}
    for text in given:
        name, _, values = text.partition("=")
        try:
            found.setdefault(name.strip(), []).extend(float(value) for value in values.split(","))
        except ValueError:
            raise click.BadParameter(
                f"got {text!r}, expected a name and numbers, such as n_fft=512,768"
            ) from None
    return found


@cli.command()
@click.argument("clip", required=False, type=PATH)
@model_option
@revision_option
@max_length_option
@click.option("--output-dir", type=PATH, help="[default: results/<clip>_<model>_<time>]")
@click.option("--chunk-seconds", default=30.0, type=click.FloatRange(8, 3600),
              help="Longest stretch that goes through a model at once; less takes less memory.",
              )  # fmt: skip
@_synthesis_options()
def reconstruct(clip, model, revision, max_length, output_dir, chunk_seconds, **options):
    """Send CLIP through the VAE and back, measure the result, and write sounds and numbers.

    Without CLIP, a bundled one is taken. A clip may be hours long: it is processed in pieces.
    """
    clip = clip or _demo_clip()
    if output_dir is None:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        output_dir = Path("results") / f"{clip.stem}_{Path(model).name}_{stamp}"
    _run(clip, max_length, model, revision, output_dir, chunk_seconds=chunk_seconds, **options)


@cli.command()
@click.option("--output-dir", default=Path("results/demo"), type=PATH)
@_synthesis_options()
def demo(output_dir, **options):
    """Reconstruct a bundled clip with the bundled tiny model. Needs no network."""
    _run(_demo_clip(), None, "tiny", None, output_dir, **options)


@cli.command()
@_clips_and_output(required=True, clips_required=False)
@models_option
@revision_option
@max_length_option
@click.option("--only-through-vae", is_flag=True,
              help="Only what went through the VAE: half the rows, and half the time.")  # fmt: skip
@click.option("--no-vae-free", is_flag=True, hidden=True, expose_value=False,
              callback=_refuse_old_name)  # fmt: skip
@click.option("--codecs", default="", show_default=False, metavar="NAME:KBPS,...",
              help="Codecs too: latent, opus, mp3, vorbis, as in latent:4.8,opus:8.")  # fmt: skip
@click.option("--keep-sounds", type=PATH, metavar="FOLDER",
              help="Write the sounds of every clip, model and method there.")  # fmt: skip
@click.option("--domains", type=PATH, metavar="FILE.CSV",
              help="Columns file, domain. [default: the name of each clip's folder]")  # fmt: skip
@click.option("--by", type=click.Choice(["domain"]),
              help="Show means for each domain, with 95 % bootstrap intervals over its clips.",
              )  # fmt: skip
@click.option("--dataset", metavar="NAME|FOLDER", help="Hugging Face datasets, instead of CLIPS.")
@click.option("--split", default="test", help="Of --dataset.")
@click.option("--column", default="audio", help="Of --dataset, with its sounds.")
@click.option("--max-clips", type=COUNT, help="Only the first so many clips.")
@_worker_options
@_synthesis_options("all")
def compare(clips, output, only_through_vae, metrics, by, dataset, split, **options):
    """Measure every method on every clip of CLIPS (files and folders); write one table.

    A row for each clip, method, and with or without the VAE. A clip that fails is one row with its
    reason. What is finished outlives a kill: the same command with --resume goes on. Exit status
    1: no clip could be measured.
    """
    from vaerecon.comparison.journal import check_free
    from vaerecon.comparison.run import compare as run
    from vaerecon.comparison.sources import open_dataset

    if bool(clips) == bool(dataset):
        raise click.UsageError("expected CLIPS (files and folders) or --dataset, one of the two")
    if dataset:
        check_free(output, options["resume"], options["overwrite"])  # before anything is fetched
        clips = open_dataset(dataset, split)
    show = partial(tables.show_comparison, metrics=metrics, by=by)
    _tabulate(run, show, clips, output, without_vae=not only_through_vae, **options)


@cli.command()
@_clips_and_output(required=False)
@click.option("--vary", multiple=True, required=True, callback=_read_values,
              metavar="NAME=VALUE,...",
              help="Values of n_fft, hop_length, n_mels, fmin, fmax or floor. May be repeated.",
              )  # fmt: skip
@click.option("--joint", is_flag=True, help="All combinations, not one setting at a time.")
@click.option("--methods", default="griffinlim",
              help="Names with commas between, of those that take any mel.")  # fmt: skip
@max_length_option
@seed_option
@_worker_options
@plugin_option
@_metric_option("visqol")
def sweep(clips, output, vary, **options):
    """Measure what other settings of the mel keep of every clip of CLIPS.

    Without a VAE: from the mel straight back to sound. A row for each clip, setting and method;
    AudioLDM2's setting is always among them. --resume and exit status as of `compare`.
    """
    from vaerecon.comparison.grid import sweep as run

    _tabulate(run, tables.show_sweep, clips, output, vary=vary, **options)


@cli.command()
@click.argument("reference", type=PATH)
@click.argument("estimate", type=PATH)
@click.option("--output", type=PATH, help=_TABLE)
@click.option("--pairs", type=PATH, help="CSV file: reference,estimate.")
@click.option("--lag", default="measured", metavar="SAMPLES|measured|none",
              help="By how much the estimates are late, at 16 kHz; one lag for all.")  # fmt: skip
@click.option("--metrics", default="main",
              help="main, all, or names with commas between; dnsmos only by its name.")  # fmt: skip
@click.option("--sets", metavar="latent|clap:HUB_ID", help="Distances of the two sets as well.")
@click.option("--allow-missing", is_flag=True, help="Leave out sounds without a partner.")
@_worker_options
@plugin_option
def evaluate(reference, estimate, output, metrics, sets, **options):
    """Measure finished sounds, ESTIMATE, against REFERENCE: two files, or folders with equal names.

    One row a pair, in the table of `compare`. Exit status 1: no pair could be measured.
    """
    from vaerecon.comparison.finished import evaluate_files

    asked = metrics.split(",")
    names = [name for item in asked for name in (METRICS if item in ("main", "all") else [item])]
    options |= {"estimate": estimate, "metrics": names, "sets": sets.split(",") if sets else ()}
    _tabulate(
        evaluate_files, partial(tables.show_evaluation, asked=asked), reference, output, **options
    )


def _tabulate(run, show, clips, output, **options) -> None:
    """Compute a table of clips, print its means and where it was written."""
    from vaerecon.comparison.journal import is_finished, journal_path

    finished = (output is not None and options["resume"] and not options["overwrite"]
                and is_finished(output))  # fmt: skip
    try:
        table = run(clips, output=output, **options)
    except (KeyboardInterrupt, OSError):
        if output is not None and journal_path(output).exists():
            click.echo("What is finished is kept: --resume goes on with it.", err=True)
        raise
    if output is not None:  # a run that was killed just before has none: --resume writes it
        keep_settings(output.with_name(f"{output.name}.yaml"), replace=not finished)
    show(table, new_console())
    if finished:
        held = "all settings are" if table.attrs else "clips, methods, models and seed are"
        click.echo(f"\nNothing to do: {output} is complete; {held} those asked for")
    elif output is not None:
        click.echo(f"\nWritten: {output} ({len(table)} rows)")
    if table["method"].isna().all():
        stop("none of the clips could be measured", 1)


@cli.command()
def models() -> None:
    """List the variants: purpose, size, what is cached, and licence of each."""
    from rich.table import Table

    from vaerecon.models.sources import describe

    table = Table("variant", "source", "for", "download", "cached", "licence", box=None)
    for row in describe():
        table.add_row(*row)
    new_console().print(table)


def _demo_clip() -> Path:
    from vaerecon.bundled import DEMO_CLIP, demo_clips

    return demo_clips()[DEMO_CLIP]


def _run(clip, max_length, model, revision, output_dir, methods, device, dtype, seed,
         metrics, exclude_metrics, chunk_seconds=None) -> None:  # fmt: skip
    """Reconstruct, save, print. Quick checks come first, then torch is imported."""
    from vaerecon.audio.clip import look_at
    from vaerecon.methods import select_methods
    from vaerecon.models.checkpoints import check_hub
    from vaerecon.models.sources import check_source

    names = select_methods(methods)
    check_source(model)
    if output_dir.exists() and not output_dir.is_dir():
        raise NotADirectoryError(
            f"--output-dir: got {output_dir.name!r}, which is a file; name a folder"
        )
    if clip.is_dir():
        raise IsADirectoryError(
            f"got the folder {clip.name!r}, expected a sound file; name one in it, or for all of "
            "them: vaerecon compare FOLDER --keep-sounds SOUNDS --output table.parquet"
        )
    seconds = look_at(clip, max_length)
    check_hub(model, revision)
    console = new_console()
    length = "" if seconds is None else f"{seconds:.2f} s, "
    console.print(f"[bold]{plain(clip.stem)}[/], {length}through [bold]{plain(model)}[/]")

    # before torch loads OpenMP: threads that wait sleep, and leave the core to other processes
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from vaerecon.pipeline.pipeline import ReconstructionPipeline

    pipe = ReconstructionPipeline.from_pretrained(
        model, revision=revision, device=device, dtype=dtype
    )
    pipe.set_progress_bar_config(
        leave=False,
        disable=None,  # only on a terminal
        bar_format="{desc}: {percentage:3.0f}% {bar} {elapsed}, {remaining} left",
    )
    pipe.chunk_seconds = chunk_seconds or pipe.chunk_seconds
    result = pipe.reconstruct_file(
        clip, output_dir, names, max_length=max_length, seed=seed, exclude_metrics=exclude_metrics
    )
    tables.show_scores(result, console, metrics)
    console.print(f"\nWritten to {printable(str(output_dir))}:", markup=False)
    for path in result.files:
        console.print(f"  {printable(path.name)}", highlight=False, markup=False)


def main() -> None:
    """Run the command line."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    logging.getLogger("huggingface_hub").propagate = False  # it prints its warnings itself
    run_command(cli)
