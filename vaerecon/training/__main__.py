"""``python -m vaerecon.training vae|vocoder --data FOLDER ... --output FOLDER --steps N``."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from vaerecon.training.loop import LoopConfig


@click.command(context_settings={"show_default": True})
@click.argument("part", type=click.Choice(["vae", "vocoder"]))
@click.option("--data", multiple=True, required=True, type=click.Path(path_type=Path))
@click.option("--output", required=True, type=click.Path(path_type=Path))
@click.option("--steps", default=2000, type=click.IntRange(min=1), help="Optimiser steps in all.")
@click.option("--batch-size", default=16, type=click.IntRange(min=1))
@click.option("--learning-rate", default=1.5e-3, help="Peak of the one-cycle schedule.")
@click.option("--save-every", default=200, type=click.IntRange(min=1))
@click.option("--threads", default=0, help="CPU threads; 0 leaves the choice to torch.")
@click.option("--seed", default=0)
@click.option("--resume", is_flag=True, help="Go on from the checkpoint in the output folder.")
def main(part, data, output, steps, batch_size, learning_rate, save_every, threads, seed, resume):
    """Train a PART of the tiny model from folders of audio."""
    import torch

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if threads:
        torch.set_num_threads(threads)
    config = LoopConfig(
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        save_every=save_every,
        seed=seed,
    )
    if part == "vae":
        from vaerecon.training.vae import train_vae as train
    else:
        from vaerecon.training.vocoder import train_vocoder as train
    try:
        train(list(data), output, config, resume=resume)
    except (ValueError, OSError) as error:
        raise click.UsageError(str(error)) from None


if __name__ == "__main__":
    main()
