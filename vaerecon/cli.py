"""The command line. Nothing here imports torch until the input has been found to be good."""

from __future__ import annotations

import difflib
import logging
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vaerecon import __version__

if TYPE_CHECKING:
    from vaerecon.result import Reconstruction

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


def _synthesis_options(command: click.decorators.FC) -> click.decorators.FC:
    """Options that every command which synthesizes shares."""
    options = [
        click.option("--methods", default="vocoder,griffinlim", show_default=True,
                     help="Names with commas between, or 'all'."),
        click.option("--device", type=click.Choice(["cpu", "cuda", "mps"]),
                     help="Where to run. [default: the best there is]"),
        click.option("--dtype", default="auto", show_default=True,
                     type=click.Choice(["auto", "float32", "float16", "bfloat16"])),
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
@_synthesis_options
def reconstruct(clip, model, revision, max_length, output_dir, **options):
    """Send CLIP through the VAE and back, measure it, and write what was heard and found.

    Without CLIP, a bundled one is taken.
    """
    from vaerecon.audio import load_audio

    loaded = load_audio(clip or _demo_clip(), max_length=max_length)
    if output_dir is None:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        output_dir = Path("results") / f"{loaded.name}_{Path(model).name}_{stamp}"
    _run(loaded, model, revision, output_dir, **options)


@cli.command()
@click.option("--output-dir", default=Path("results/demo"), show_default=True,
              type=click.Path(path_type=Path))  # fmt: skip
@_synthesis_options
def demo(output_dir, **options):
    """Reconstruct a bundled clip with the bundled tiny model. Needs no network."""
    from vaerecon.audio import load_audio

    _run(load_audio(_demo_clip()), "tiny", None, output_dir, **options)


@cli.command()
def models() -> None:
    """List the variants: what each is for, its size, what is cached, and its licence."""
    from rich.table import Table

    from vaerecon.checkpoints import describe

    table = Table("variant", "source", "for", "download", "cached", "licence", box=None)
    for row in describe():
        table.add_row(*row)
    _console().print(table)


def _demo_clip() -> Path:
    from vaerecon.bundled import DEMO_CLIP, demo_clips

    return demo_clips()[DEMO_CLIP]


def _run(clip, model, revision, output_dir, methods, device, dtype, seed, exclude_metrics) -> None:
    """Load, reconstruct, save, report. Cheap checks come first, torch after them."""
    from vaerecon.checkpoints import check_source
    from vaerecon.methods import select_methods

    names = select_methods(methods)
    check_source(model)
    if output_dir.exists() and not output_dir.is_dir():
        raise NotADirectoryError(
            f"--output-dir: got {output_dir.name!r}, which is a file; name a folder"
        )
    console = _console()
    console.print(f"[bold]{clip.name}[/], {clip.duration:.2f} s, through [bold]{model}[/]")

    from vaerecon.pipeline import ReconstructionPipeline

    pipe = ReconstructionPipeline.from_pretrained(
        model, revision=revision, device=device, dtype=dtype
    )
    pipe.set_progress_bar_config(leave=False, unit="run")
    skipped = [name.replace("-", "_") for name in exclude_metrics]
    result = pipe(clip, names, seed=seed, exclude_metrics=skipped)
    files = result.save(output_dir)
    _report(result, console)
    console.print(f"\nWritten to {output_dir}:")
    for path in files:
        console.print(f"  {path.name}", highlight=False)


def _report(result: Reconstruction, console) -> None:
    """The summary table, and beneath it what each number does not tell."""
    from rich.table import Table

    from vaerecon.methods import get_method
    from vaerecon.metrics import METRICS

    shown = [
        n for n in SHOWN_METRICS if any(f.scores[n] is not None for f in result.methods.values())
    ]
    mae = float((result.mel_decoded - result.mel).abs().mean())
    console.print(
        f"VAE alone: mean log-mel difference {mae:.3f} nepers; "
        f"latent {list(result.latent.shape)}, "
        f"{result.mel.numel() / result.latent.numel():.2g} times fewer values than the mel\n"
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


def _console():
    from rich.console import Console

    # a table in a pipe or a log is not bound to 80 columns
    return Console(highlight=False, width=None if sys.stdout.isatty() else 120)


def unwind_on_sigterm() -> None:
    """Make SIGTERM end the program as Ctrl-C does, so that unfinished results are cleaned up."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)


def main() -> None:
    """Run the command line: exit status 2 and one line for what the user can mend."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    unwind_on_sigterm()
    try:
        cli(standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        click.echo("vaerecon: interrupted; nothing was written", err=True)
        sys.exit(130)
    except (ValueError, OSError) as error:
        text = " ".join(str(error).split())
        click.echo(f"vaerecon: error: {text}", err=True)
        sys.exit(2)
