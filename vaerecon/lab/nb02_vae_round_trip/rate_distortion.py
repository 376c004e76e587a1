"""What a log-mel and its latent take in bits, by theory and rounded, and the error that buys.

Shapes and units as in :mod:`vaerecon.lab.nb02_vae_round_trip.round_trip`; the pictures are in
:mod:`vaerecon.lab.nb02_vae_round_trip.plots`.

Bits. A latent value has no natural size in bits: it is a real number. Three sizes are given here.
What a file would take (16 or 32 bits a value). The KL divergence of the posterior from a prior,
which is what a posterior's sample costs if sender and receiver agree on that prior [1]_; a theory's
bound, not a file. And the entropy of the latent rounded to steps, which a real coder comes near.

Notebook: ``02_vae_round_trip``.

References
----------
.. [1] G. Hinton and D. van Camp, "Keeping the neural networks simple by minimizing the description
   length of the weights", COLT 1993: the bits-back argument.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from vaerecon.lab.nb02_vae_round_trip.round_trip import (
    LATENT_RATE,
    MEL_RATE,
    RoundTrip,
    mel_distance,
)
from vaerecon.mel.config import AUDIOLDM_MEL
from vaerecon.models import autoencoder

if TYPE_CHECKING:
    import pandas as pd

    from vaerecon.pipeline.pipeline import ReconstructionPipeline

PCM_BITS = 16  # a sample on a CD, or in a wav file
STEPS = (4.0, 2.0, 1.0, 0.5, 0.25)  # to round a latent or a log-mel to, in its own unit


def channel_statistics(mean: torch.Tensor, logvar: torch.Tensor) -> pd.DataFrame:
    """One row a latent channel: how its values lie, how sure the encoder is, what it costs.

    Parameters
    ----------
    mean, logvar
        ``[8, L, 16]`` each, as from :func:`vaerecon.models.autoencoder.posterior`.

    Returns
    -------
    pandas.DataFrame
        ``mean`` and ``std`` of the posterior's means over the clip; ``sigma``, the posterior's own
        standard deviation (root mean square); ``kl``, from the standard normal, nats per value;
        ``information``, the same from the normal that fits this channel best, nats per value.
    """
    import pandas as pd

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
    return pd.DataFrame(
        {name: x.tolist() for name, x in columns.items()},
        index=pd.RangeIndex(len(mean), name="channel"),
    )


def bit_rates(trip: RoundTrip) -> pd.DataFrame:
    """The size of a second of sound, by what is stored and how: kbit/s, and the ratio to PCM.

    Notes
    -----
    The last two rows are KL divergences, in bits: bounds from theory (module docstring). The first
    of them assumes the prior that the VAE was trained against, the standard normal; the second a
    normal with the mean and variance that each channel has in this clip.
    """
    import pandas as pd

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
    """Entropy of whole numbers of any shape, bits each, from how often each one occurs."""
    share = symbols.unique(return_counts=True)[1].double() / symbols.numel()
    return float(-(share * share.log2()).sum())


def rate_curve(
    pipe: ReconstructionPipeline, trip: RoundTrip, steps: Sequence[float] = STEPS
) -> pd.DataFrame:
    """Round the latent, or the log-mel itself, to steps: bits a second against error.

    The coder knows how often each symbol occurs, separately for each latent channel and for each
    group of four mel bins, but no context. Few symbols against many values, so keep the steps
    coarse: the entropy of a short clip comes out too low otherwise.

    Returns
    -------
    pandas.DataFrame
        ``what`` ("latent", "log-mel"), ``step``, ``kbit/s``, ``error`` (nepers).
    """
    import pandas as pd

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
