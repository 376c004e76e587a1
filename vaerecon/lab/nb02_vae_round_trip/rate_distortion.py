"""Rate and distortion: the bits of a log-mel and of its latent, and the error at that rate.

Shapes and units as in :mod:`vaerecon.lab.nb02_vae_round_trip.round_trip`.

A latent value is a real number, without a size in bits. Three sizes are given: that of a file (16
or 32 bits per value); the KL divergence of the posterior from a prior, the cost of a sample of the
posterior if sender and receiver know that prior [1]_, which is a bound and not a file; and the
entropy of the quantised latent, which a real coder nearly reaches.

References
----------
.. [1] G. Hinton and D. van Camp, "Keeping the neural networks simple by minimizing the description
   length of the weights", COLT 1993: the bits-back argument.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
import torch

from vaerecon.lab.nb02_vae_round_trip.round_trip import (
    LATENT_RATE,
    MEL_RATE,
    RoundTrip,
    mel_distance,
)
from vaerecon.mel.config import AUDIOLDM_MEL
from vaerecon.models import autoencoder
from vaerecon.pipeline.pipeline import ReconstructionPipeline

PCM_BITS = 16  # a sample on a CD, or in a wav file
STEPS = (4.0, 2.0, 1.0, 0.5, 0.25)  # quantisation steps, in the unit of latent or log-mel


def channel_statistics(mean: torch.Tensor, logvar: torch.Tensor) -> pd.DataFrame:
    """Distribution, uncertainty and KL divergence of each latent channel, one row each.

    ``mean`` and ``logvar`` are ``[8, L, 16]``, as from
    :func:`vaerecon.models.autoencoder.posterior`. Columns: ``mean`` and ``std`` of the posterior's
    means over the clip; ``sigma``, the posterior's own standard deviation (root mean square);
    ``kl``, from the standard normal, nats per value; ``information``, the same from the normal that
    fits this channel best.
    """

    def over_clip(x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=(-2, -1))

    variance = over_clip(logvar.exp())
    spread = mean.var(dim=(-2, -1), correction=0)
    # KL from N(m, v), averaged, with v = spread + variance: only the logarithms are left
    information = 0.5 * ((spread + variance).log() - over_clip(logvar))
    columns = {
        "mean": over_clip(mean),
        "std": spread.sqrt(),
        "sigma": variance.sqrt(),
        "kl": over_clip(0.5 * (mean**2 + logvar.exp() - 1 - logvar)),
        "information": information,
    }
    table = pd.DataFrame({name: x.tolist() for name, x in columns.items()})
    return table.rename_axis("channel")


def bit_rates(trip: RoundTrip) -> pd.DataFrame:
    """Bit rate of each representation: kbit/s, and the ratio to PCM.

    The last two rows are KL divergences, bounds from theory (module docstring). The first assumes
    the prior that the VAE was trained with, the standard normal; the second a normal with the mean
    and variance of each channel in this clip.
    """
    information = channel_statistics(trip.mean, trip.logvar)["information"].mean()
    kl = float(autoencoder.kl_nats(trip.mean, trip.logvar))
    rows = {
        "samples, 16-bit PCM": AUDIOLDM_MEL.sample_rate * PCM_BITS,
        "log-mel, float32": MEL_RATE * 32,
        "latent, float32": LATENT_RATE * 32,
        "latent, float16": LATENT_RATE * 16,
        "latent, KL from N(0, 1)": LATENT_RATE * kl / math.log(2),
        "latent, KL from a fitted normal": LATENT_RATE * information / math.log(2),
    }
    table = pd.DataFrame({"kbit/s": pd.Series(rows) / 1000})
    table["PCM is larger by"] = table["kbit/s"].iloc[0] / table["kbit/s"]
    return table


def entropy_bits(symbols: torch.Tensor) -> float:
    """Entropy of integers of any shape, bits per value, from their frequencies."""
    share = symbols.unique(return_counts=True)[1].double() / symbols.numel()
    return float(-(share * share.log2()).sum())


def rate_curve(
    pipe: ReconstructionPipeline, trip: RoundTrip, steps: Sequence[float] = STEPS
) -> pd.DataFrame:
    """Rate and error of the quantised latent and log-mel by step: ``kbit/s``, ``error`` (nepers).

    The rate is the entropy without context, separately for each latent channel and for each group
    of four mel bins. With fine steps and a short clip this entropy is too low, since most symbols
    occur once.
    """
    rows = []
    # [T, 64] -> [16, T, 4]: sixteen groups of as many values as a latent channel has
    groups = trip.mel.unflatten(-1, (16, 4)).movedim(-2, 0)
    for step in steps:
        latent, mel = (trip.mean / step).round(), (groups / step).round()
        decoded = pipe.decode(latent * step, n_frames=len(trip.mel)).cpu()
        for what, symbols, rate, error in (
            ("latent", latent, LATENT_RATE, mel_distance(decoded, trip.mel)),
            ("log-mel", mel, MEL_RATE, mel_distance(mel * step, groups)),
        ):
            bits = sum(entropy_bits(x) for x in symbols) / len(symbols)
            rows.append({"what": what, "step": step, "kbit/s": rate * bits / 1000, "error": error})
    return pd.DataFrame(rows)
