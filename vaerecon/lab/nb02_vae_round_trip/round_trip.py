"""A clip encoded and decoded by the VAE, and its error.

Log-mels are ``[T, 64]`` in nepers, latents ``[8, L, 16]`` with ``L = ceil(T / 4)``, samples ``[N]``
at the front-end's level. Notebook: ``02_vae_round_trip``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch

from vaerecon.audio.clip import Clip
from vaerecon.audio.samples import normalize_level
from vaerecon.mel.config import AUDIOLDM_MEL
from vaerecon.mel.front_end import log_mel
from vaerecon.models import autoencoder
from vaerecon.pipeline.pipeline import ReconstructionPipeline

MEL_RATE = 64 * AUDIOLDM_MEL.frames_per_second  # log-mel values a second
LATENT_RATE = 8 * 16 * AUDIOLDM_MEL.frames_per_second / 4  # latent values a second


@dataclass(frozen=True)
class RoundTrip:
    """A clip, its log-mel, its latent, and the decoded log-mel."""

    clip: Clip
    samples: torch.Tensor  # [N], mean removed, peak 0.5
    mel: torch.Tensor  # [T, 64] nepers
    mean: torch.Tensor  # [8, L, 16], the posterior's mean, which is its mode
    logvar: torch.Tensor  # [8, L, 16], the logarithm of the posterior's variance
    decoded: torch.Tensor  # [T, 64] nepers, from the mode

    @property
    def mae(self) -> float:
        """Mean absolute difference of the two log-mels, nepers."""
        return mel_distance(self.decoded, self.mel)


def mel_distance(one: torch.Tensor, other: torch.Tensor) -> float:
    """Mean absolute difference of two log-mels, nepers."""
    return float((one - other).abs().mean())


def round_trip(pipe: ReconstructionPipeline, clip: Clip) -> RoundTrip:
    """Encode and decode a clip by the posterior's mode. All tensors are on the CPU."""
    samples, _ = normalize_level(clip.samples)
    mel = log_mel(samples, normalize=False)
    vae: Any = pipe.vae  # diffusers registers it, unseen by a type checker
    mean, logvar = (x.cpu() for x in autoencoder.posterior(vae, mel))
    decoded = pipe.decode(mean, n_frames=len(mel)).cpu()
    return RoundTrip(clip, samples, mel, mean, logvar, decoded)


def sound_errors(
    pipe: ReconstructionPipeline, trip: RoundTrip, methods: Sequence[str]
) -> pd.DataFrame:
    """The VAE's error measured directly, and on each method's sound.

    A row for the log-mel itself ("direct") and one for each method; ``without VAE`` and
    ``with VAE``: the distance to the original's log-mel, nepers; ``VAE seems to cost``: their
    difference.
    """
    columns = {"without VAE": trip.mel, "with VAE": trip.decoded}
    rows = {"direct": {"without VAE": 0.0, "with VAE": trip.mae}}
    for method in methods:
        sounds = synthesize(pipe, columns, method, len(trip.samples))
        rows[method] = {
            name: mel_distance(log_mel(x, normalize=False), trip.mel) for name, x in sounds.items()
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    table["VAE seems to cost"] = table["with VAE"] - table["without VAE"]
    return table


def synthesize(
    pipe: ReconstructionPipeline,
    mels: dict[str, torch.Tensor],
    method: str = "griffinlim",
    n_samples: int | None = None,
) -> dict[str, torch.Tensor]:
    """Sounds ``[N]`` (``160 T`` by default) of several log-mels by one method and one seed."""
    return {name: pipe.synthesize(mel, method, n_samples).cpu() for name, mel in mels.items()}
