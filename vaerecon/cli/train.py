"""``vaerecon train``: the commands. Nothing here imports torch until the input is good."""

import logging
import sys
from functools import partial
from pathlib import Path
from typing import Any

import click

from vaerecon.cli.options import (
    COUNT,
    PATH,
    Decorator,
    config_option,
    device_option,
    keep_settings,
    with_options,
)
from vaerecon.training.settings import DEFAULTS, FINE_TUNING_STEPS, PARTS

SETTINGS = "run.yaml"  # beside a checkpoint; that of `all`, in its output


@click.group()
def train() -> None:
    """Train the parts of a model on folders of audio, or fine-tune trained ones.

    \b
    vaerecon train all --data my_audio --output runs/mine --minutes 120
    vaerecon train vae --data my_audio --output runs/mine --init music
    vaerecon train export runs/mine my_model
    vaerecon song.wav --model my_model

    Each part writes OUTPUT/PART, and OUTPUT/PART_run with checkpoint.pt, curve.csv and samples/.
    A run that was stopped, however it was, goes on with --resume; on a CPU it takes exactly the
    steps that it would have taken. Several GPUs: accelerate launch -m vaerecon train ...
    """


_shared = with_options(
    config_option,
    click.option("--data", multiple=True, required=True, type=PATH,
                 help="Folder of audio, searched recursively. May be repeated."),
    click.option("--output", required=True, type=PATH, help="Folder to write to."),
    click.option("--resume", is_flag=True, help="Go on from the checkpoint in OUTPUT, if any."),
    click.option("--batch-size", type=COUNT, help="Crops a step and process. [default: 16]"),
    click.option("--save-every", type=COUNT, help="Steps between checkpoints. [default: 200]"),
    click.option("--validation-crops", type=COUNT,
                 help="Held-out crops to measure at each checkpoint. [default: 32]"),
    click.option("--samples", type=click.IntRange(min=0),
                 help="Held-out crops drawn and written as sound at each checkpoint. [default: 2]"),
    click.option("--adversarial-from", type=click.IntRange(min=0), metavar="STEP",
                 help="First step that uses discriminators. [default: never on a CPU, where a "
                      "vocoder's step with them costs three to four plain ones; after a third of "
                      "the steps on CUDA]"),
    click.option("--seed", type=int, help="Seed of every random draw. [default: 0]"),
    device_option,
    click.option("--precision", default="no", type=click.Choice(["no", "bf16", "fp16"]),
                 help="Of the networks' arithmetic; 'no' is float32."),
    click.option("--threads", type=COUNT, help="CPU threads. [default: torch's]"),
    click.option("--memory", "memory_limit", default=2.0, metavar="GB",
                 type=click.FloatRange(min=0),
                 help="Audio to keep decoded; a larger collection is read from disk crop by crop "
                      "(115 MB an hour)."),
)  # fmt: skip


def _own(part: str) -> Decorator:
    """Options of a training of one part."""
    defaults = DEFAULTS[part]
    return with_options(
        click.option("--steps", type=COUNT,
                     help=f"Optimiser steps. [default: {defaults.steps}; with --init "
                          f"{FINE_TUNING_STEPS}]"),
        click.option("--minutes", type=click.FloatRange(min=0, min_open=True),
                     help="Instead of --steps: as many as fit, timed after the first few."),
        click.option("--learning-rate", type=click.FloatRange(min=0, min_open=True),
                     help=f"Peak of the one-cycle schedule. [default: {defaults.learning_rate:g}; "
                          "with --init a tenth]"),
        click.option("--frames", type=click.IntRange(min=4), help="Mel frames (10 ms) in a crop."),
        click.option("--init", metavar="MODEL",
                     help="Start from trained weights: tiny, music, speech, large, a folder, or a "
                          "hub id."),
        _shared,
    )  # fmt: skip


@train.command()
@click.option("--kl-weight", type=click.FloatRange(min=0), help="Of the KL divergence.")
@click.option("--detail-weight", type=click.FloatRange(min=0), help="Of fine detail's energy.")
@click.option("--rate-weight", type=click.FloatRange(min=0), help="Of the bits for the codec.")
@click.option("--freeze-encoder/--train-encoder", default=None,
              help="Train the decoder only. [default: with --init of any model but tiny]",
              )  # fmt: skip
@_own("vae")
def vae(kl_weight, detail_weight, rate_weight, freeze_encoder, **options) -> None:
    """Train the VAE, and write OUTPUT/vae."""
    objective = {"kl_weight": kl_weight, "detail_weight": detail_weight, "rate_weight": rate_weight}
    _one("vae", objective, {"freeze_encoder": freeze_encoder}, **options)


@train.command()
@click.option("--vae", default="tiny", metavar="MODEL",
              help="Whose returned mels make up a third of the batches: a model, a folder, or "
                   "'none'.")  # fmt: skip
@_own("vocoder")
def vocoder(vae, **options) -> None:
    """Train the vocoder, and write OUTPUT/vocoder."""
    _one("vocoder", {}, {"vae": None if vae == "none" else vae}, **options)


@train.command()
@click.option("--vae", metavar="MODEL",
              help="Let a third of the batches come with mels that this model's VAE returned.",
              )  # fmt: skip
@_own("fast")
def fast(vae, **options) -> None:
    """Train the fast synthesizer, and write OUTPUT/fast."""
    _one("fast", {}, {"vae": vae}, **options)


_SHARES = ", ".join(f"{DEFAULTS[part].share:.0%} {part}" for part in PARTS)


@train.command("all")
@click.option("--minutes", required=True, type=click.FloatRange(min=0, min_open=True),
              help=f"Wall time for everything, shared out: {_SHARES}.")  # fmt: skip
@_shared
def all_parts(data, output, minutes, resume, device, precision, threads, memory_limit, **given):
    """Train fast, VAE and vocoder, within MINUTES, into one folder.

    In this order, so that on a CPU the part that gains most comes first. The vocoder learns from
    the mels of the new VAE.
    """
    _prepare(data, output, threads)
    from vaerecon.models.placement import pick_device
    from vaerecon.training.run import train_all

    train_all(list(data), output, minutes, _given(given), resume=resume,
              device=pick_device(device), precision=precision, memory_limit=memory_limit,
              begun=partial(keep_settings, output / SETTINGS, not resume))  # fmt: skip
    click.echo(f"Written to {output}: {', '.join(PARTS)}")


@train.command()
@click.argument("run", type=PATH)
@click.argument("target", type=PATH)
def export(run: Path, target: Path) -> None:
    """Write what was trained in RUN to TARGET: float16 weights, checksums, the curves."""
    from vaerecon.training.model_folder import export as write

    for name, digest in write(run, target).items():
        click.echo(f"{digest}  {name}")


def _one(part: str, objective: dict, options: dict, *, data, output, resume, init, frames, device,
         precision, threads, memory_limit, **given) -> None:  # fmt: skip
    """Make the quick checks, then train one part."""
    if given["steps"] is not None and given["minutes"] is not None:
        raise click.UsageError("got --steps and --minutes, expected one of them")
    for kind, source in ((part, init), ("vae", options.get("vae"))):
        if source:
            _check_source(kind, source)
    _prepare(data, output, threads)
    from vaerecon.models.placement import pick_device
    from vaerecon.training import run

    run.train(part, list(data), output, _given(given), objective=_given(objective, frames=frames),
              resume=resume, device=pick_device(device), precision=precision,
              memory_limit=memory_limit, init=init, **options,
              begun=partial(keep_settings, output / f"{part}_run" / SETTINGS, not resume),
              )  # fmt: skip
    click.echo(f"Written to {output}: {part}")


def _check_source(part: str, source: str) -> None:
    """Refuse at once a model that cannot be one."""
    from vaerecon.models.sources import check_source
    from vaerecon.training.weights import part_folder

    if part == "fast" or part_folder(part, source) is None:
        check_source(source)


def _given(options: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in (options | more).items() if value is not None}


def _prepare(data: tuple[Path, ...], output: Path, threads: int | None) -> None:
    """Make the quick checks; then set up the log and torch's threads."""
    from vaerecon.audio.paths import check_path

    for folder in data:
        check_path(folder)
        if not folder.is_dir():
            state = "which is a file" if folder.exists() else "and there is none"
            raise ValueError(f"--data: got {str(folder)!r}, {state}; name a folder of audio files")
    if output.exists() and not output.is_dir():
        raise NotADirectoryError(f"--output: got {output.name!r}, which is a file; name a folder")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr,
                        force=True)  # fmt: skip
    for name in ("httpx", "huggingface_hub", "matplotlib", "numba", "accelerate"):
        logging.getLogger(name).setLevel(logging.WARNING)
    import torch

    if threads:
        torch.set_num_threads(threads)
