"""A clip encoded and decoded by the VAE, its error, and two traps.

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
    mean, logvar = (x.cpu() for x in autoencoder.posterior(_vae(pipe), mel))
    decoded = pipe.decode(mean, n_frames=len(mel)).cpu()
    return RoundTrip(clip, samples, mel, mean, logvar, decoded)


def _vae(pipe: Any) -> Any:
    return pipe.vae  # diffusers registers it, unseen by a type checker


def shapes(trip: RoundTrip) -> pd.DataFrame:
    """Shape, number of values and values per second of each stage."""
    stages = {
        "samples [N]": (trip.samples, AUDIOLDM_MEL.sample_rate),
        "log-mel [T, 64]": (trip.mel, MEL_RATE),
        "latent [8, L, 16]": (trip.mean, LATENT_RATE),
        "decoded log-mel [T, 64]": (trip.decoded, MEL_RATE),
    }
    rows = [
        {"stage": stage, "shape": list(x.shape), "values": x.numel(), "values per second": rate}
        for stage, (x, rate) in stages.items()
    ]
    return pd.DataFrame(rows).set_index("stage")


def error_by_level(mel: torch.Tensor, decoded: torch.Tensor) -> pd.DataFrame:
    """Error against the level of the original, in classes one neper wide.

    Index ``level`` (the lower edge of the class, nepers relative to the loudest value); ``mae`` and
    ``bias`` (decoded minus original) in nepers, ``share`` of the values.
    """
    difference = (decoded - mel).flatten()
    below = (mel - mel.max()).floor().clamp_max(-1).flatten()
    frame = pd.DataFrame({"level": below, "bias": difference, "mae": difference.abs()})
    table = frame.groupby("level").mean()
    table["share"] = frame.groupby("level").size() / len(frame)
    return table


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


def swap_axes(pipe: ReconstructionPipeline, mel: torch.Tensor) -> torch.Tensor:
    """The decoded log-mel ``[T', 64]`` if time and frequency are swapped at the model's input.

    The model is called without this package's checks. It is convolutional and takes any size, so
    nothing fails. ``T'`` is ``T`` cut to a multiple of 4.
    """
    vae = _vae(pipe)
    picture = mel[: len(mel) // 4 * 4].T[None, None]  # [T, 64] -> [1, 1, 64, T], on purpose
    with torch.no_grad():
        latent = vae.encode(picture.to(vae.device, vae.dtype)).latent_dist.mode()
        return vae.decode(latent).sample[0, 0].T.float().cpu()  # and back to [T', 64]


def pad_frames(mel: torch.Tensor, n_frames: int, value: float) -> torch.Tensor:
    """Lengthen a log-mel ``[T, 64]`` to ``n_frames`` with frames of one value, nepers."""
    if n_frames < len(mel):
        raise ValueError(f"n_frames: got {n_frames}, expected at least the {len(mel)} there are")
    return torch.nn.functional.pad(mel, (0, 0, 0, n_frames - len(mel)), value=value)


def decode_padded(
    pipe: ReconstructionPipeline, mel: torch.Tensor, n_frames: int
) -> dict[str, torch.Tensor]:
    """A log-mel through the VAE alone, padded with silence, and padded with 0.0."""
    padded = {
        "no padding": mel,
        "padded with the floor": pad_frames(mel, n_frames, AUDIOLDM_MEL.log_floor),
        "padded with 0.0": pad_frames(mel, n_frames, 0.0),
    }
    return {name: pipe.decode(pipe.encode(x), len(x)).cpu() for name, x in padded.items()}


def padding_errors(decoded: dict[str, torch.Tensor], mel: torch.Tensor) -> pd.DataFrame:
    """Error of the clip's frames, and mean decoded level of the padding, for each padding.

    ``decoded`` is from :func:`decode_padded`; all in nepers, NaN without padding.
    """
    n, level = len(mel), float(mel.mean())
    rows = {k: (mel_distance(x[:n], mel), float(x[n:].mean()), level) for k, x in decoded.items()}
    columns = ["error of the clip", "level of the padding", "level of the clip"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)
