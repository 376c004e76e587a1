"""Edits of a latent: samples of the posterior, channels silenced or shifted, two clips mixed.

Shapes and units as in :mod:`vaerecon.lab.nb02_vae_round_trip.round_trip`.
"""

from __future__ import annotations

import pandas as pd
import torch

from vaerecon.lab.nb02_vae_round_trip.round_trip import RoundTrip, mel_distance
from vaerecon.mel.front_end import log_mel
from vaerecon.pipeline.pipeline import ReconstructionPipeline


def _check_channel(latent: torch.Tensor, channel: int) -> None:
    if not 0 <= channel < latent.shape[-3]:
        raise ValueError(
            f"channel: got {channel}, expected 0 to {latent.shape[-3] - 1}: "
            f"the latent {list(latent.shape)} has {latent.shape[-3]} channels"
        )


def silence_channel(latent: torch.Tensor, channel: int, how: str = "zero") -> torch.Tensor:
    """A copy of the latent ``[8, L, 16]`` with one channel constant.

    ``how`` is ``"zero"``, the prior's mean, or ``"mean"``, the mean over time of each of the 16
    rows, so that only the changes are removed.
    """
    _check_channel(latent, channel)
    if how not in ("zero", "mean"):
        raise ValueError(f"how: got {how!r}, expected 'zero' or 'mean'")
    edited = latent.clone()
    rows = edited[..., channel, :, :]
    rows[...] = 0.0 if how == "zero" else rows.mean(dim=-2, keepdim=True)
    return edited


def walk_channel(latent: torch.Tensor, channel: int, amount: float) -> torch.Tensor:
    """A copy of the latent with ``amount`` standard deviations added to one channel.

    The standard deviation is that of the channel over this clip.
    """
    _check_channel(latent, channel)
    edited = latent.clone()
    rows = edited[..., channel, :, :]
    rows += amount * rows.std(dim=(-2, -1), keepdim=True)
    return edited


def interpolate(
    one: torch.Tensor, other: torch.Tensor, weight: float | torch.Tensor
) -> torch.Tensor:
    """Mix two latents ``[8, L, 16]``, ``(1 - weight) * one + weight * other``.

    The result has the length of the shorter one. ``weight`` is 0 to 1, or a tensor ``[L]`` of that
    length: a transition from one clip to the other.
    """
    length = min(one.shape[-2], other.shape[-2])
    weight = torch.as_tensor(weight, dtype=torch.float32)
    if weight.ndim == 1 and len(weight) != length:
        raise ValueError(f"weight: got [{len(weight)}], expected a number or [{length}]")
    return torch.lerp(one[..., :length, :], other[..., :length, :], weight.reshape(-1, 1))


def edited_mel(
    pipe: ReconstructionPipeline,
    one: RoundTrip,
    other: RoundTrip,
    channel: int,
    amount: float,
    weight: float,
) -> torch.Tensor:
    """Shift a channel by ``amount`` standard deviations, mix with another clip, decode."""
    walked = walk_channel(one.mean, channel, amount)
    n_frames = min(len(one.mel), len(other.mel)) if weight else len(one.mel)
    latent = interpolate(walked, other.mean, weight) if weight else walked
    return pipe.decode(latent, n_frames=n_frames).cpu()


def channel_importance(pipe: ReconstructionPipeline, trip: RoundTrip) -> pd.DataFrame:
    """The error when one channel is silenced, nepers: one row per channel.

    ``zero`` and ``mean``: distance to the original's log-mel after :func:`silence_channel`;
    ``change``: distance of the zeroed one to the log-mel decoded from the whole latent.
    """
    rows = []
    for channel in range(len(trip.mean)):
        mels = {
            how: pipe.decode(silence_channel(trip.mean, channel, how), len(trip.mel)).cpu()
            for how in ("zero", "mean")
        }
        row = {how: mel_distance(mel, trip.mel) for how, mel in mels.items()}
        rows.append(row | {"change": mel_distance(mels["zero"], trip.decoded)})
    return pd.DataFrame(rows).rename_axis("channel")


def mixtures(
    pipe: ReconstructionPipeline, one: RoundTrip, other: RoundTrip, weight: float = 0.5
) -> dict[str, torch.Tensor]:
    """Three mixtures of two clips, and both clips, as log-mels of one length.

    ``"samples mixed"`` is the log-mel of the sum, both sounds at once.
    """
    n_frames = min(len(one.mel), len(other.mel))
    n_samples = min(len(one.samples), len(other.samples))
    samples = torch.lerp(one.samples[:n_samples], other.samples[:n_samples], weight)
    latent = interpolate(one.mean, other.mean, weight)
    return {
        "first clip, decoded": one.decoded[:n_frames],
        "latents mixed": pipe.decode(latent, n_frames=n_frames).cpu(),
        "log-mels mixed": torch.lerp(one.mel[:n_frames], other.mel[:n_frames], weight),
        "samples mixed": log_mel(samples, normalize=False)[:n_frames],
        "second clip, decoded": other.decoded[:n_frames],
    }
