"""``python -m vaerecon.training vae|vocoder|export``: train the parts of a model, ship them."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from vaerecon.console import run_command
from vaerecon.training.loop import LoopConfig

FOLDER = click.Path(path_type=Path)


@click.group(context_settings={"show_default": True})
def main() -> None:
    """Train a tiny model in AudioLDM2's layout from folders of audio."""


def _train(part: str, data, output, threads, resume, **settings) -> None:
    import torch

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if threads:
        torch.set_num_threads(threads)
    if part == "vae":
        from vaerecon.training.vae import train_vae as train
    else:
        from vaerecon.training.vocoder import train_vocoder as train
    train(list(data), output, LoopConfig(**settings), resume=resume)


def _part(name: str, learning_rate: float, steps: int) -> None:
    """Add the command that trains the part ``name``."""

    @main.command(name, help=f"Train the {name} and write OUTPUT/{name}.")
    @click.option("--data", multiple=True, required=True, type=FOLDER, help="May be repeated.")
    @click.option("--output", required=True, type=FOLDER)
    @click.option("--steps", default=steps, type=click.IntRange(min=1), help="Optimiser steps.")
    @click.option("--batch-size", default=16, type=click.IntRange(min=1))
    @click.option("--learning-rate", default=learning_rate, help="Peak of the one-cycle schedule.")
    @click.option("--save-every", default=200, type=click.IntRange(min=1))
    @click.option("--threads", default=0, help="CPU threads; 0 leaves the choice to torch.")
    @click.option("--seed", default=0)
    @click.option("--resume", is_flag=True, help="Go on from the checkpoint in OUTPUT.")
    def command(**options) -> None:
        _train(name, **options)


_part("vae", learning_rate=1.5e-3, steps=1800)
_part("vocoder", learning_rate=6e-4, steps=3000)


@main.command()
@click.argument("run", type=FOLDER)
@click.argument("target", type=FOLDER)
def export(run: Path, target: Path) -> None:
    """Write what was trained in RUN to TARGET: float16 weights, checksums, the curves."""
    from vaerecon.training.export import export as write

    for name, digest in write(run, target).items():
        click.echo(f"{digest}  {name}")


if __name__ == "__main__":
    run_command(main)
