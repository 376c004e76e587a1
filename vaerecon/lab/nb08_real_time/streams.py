"""Streams of one clip at several latencies, and the VAE in short windows.

Notebook: ``08_real_time``.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import pandas as pd
import torch

from vaerecon.metrics.scores import evaluate
from vaerecon.models import autoencoder
from vaerecon.pipeline.pipeline import ReconstructionPipeline
from vaerecon.streaming.stream import Stream
from vaerecon.utils.threads import on_one_core

AROUND = (-0.03, 0.0, 0.02, 0.04, 0.08)  # s of look-ahead
THROUGH = (0.04, 0.08, 0.16)
SCORES = ("log_mel_mae", "pesq_wb", "stoi")


class Streamed(NamedTuple):
    """The output of a stream for one clip."""

    sound: torch.Tensor  # [N], the latency taken off
    latency: float  # s
    block: float  # s
    seconds: list[float]  # processor time of each block


def send(pipe: ReconstructionPipeline, samples: torch.Tensor, **setting: Any) -> Streamed:
    """Samples ``[N]`` block by block through a stream."""
    stream = Stream(pipe, **setting)
    size, pieces, seconds = stream.frames * 160, [], []
    for block in samples.split(size):
        started = time.thread_time()
        pieces.append(stream.push(block))
        seconds.append(time.thread_time() - started)
    sound = torch.cat([*pieces, stream.flush()])[stream.latency :]
    return Streamed(sound, stream.latency / 16000, size / 16000, seconds)


def latency_table(
    pipe: ReconstructionPipeline, samples: torch.Tensor, method: str
) -> tuple[pd.DataFrame, dict[str, torch.Tensor]]:
    """Scores of a stream at each look-ahead, around the VAE and through it; and its sounds."""
    rows, sounds = {}, {}
    for way, look_aheads in (("around", AROUND), ("through", THROUGH)):
        for seconds in look_aheads:
            setting = {"look_ahead": seconds, "through_vae": way == "through"}
            found = send(pipe, samples, method=method, gain=1.0, **setting)
            name = f"{way}, {1000 * found.latency:.0f} ms"
            scores = evaluate(samples, found.sound, metrics=SCORES)
            rows[name] = {"way": way, "latency": found.latency, **scores}
            sounds[name] = found.sound
    return pd.DataFrame.from_dict(rows, orient="index"), sounds


@torch.no_grad()
def window_errors(
    pipe: ReconstructionPipeline, mel: torch.Tensor, encode_blocks: Callable[..., torch.Tensor]
) -> pd.Series:
    """Error of the mel behind the VAE, nepers: whole, and in windows of 24 past frames and 12.

    ``encode_blocks(encode, mel, past)`` is the notebook's.
    """
    errors = {}
    for name, vae in (("own statistics", pipe.vae), ("fixed statistics", pipe.fixed_vae())):
        latent = autoencoder.encode(vae, mel)
        with on_one_core():
            encode, _ = autoencoder.window_coders(vae)
            windows = {
                "whole clip": latent,
                "windows": encode_blocks(encode, mel, 24),
                "windows off the grid": encode_blocks(encode, mel, 26),
            }
            for how, z in windows.items():
                decoded = autoencoder.decode(vae, z, len(mel))
                errors[f"{how}, {name}"] = float((decoded - mel).abs().mean())
    return pd.Series(errors)
