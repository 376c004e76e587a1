"""The latent as an instrument: draws from it, channels silenced or moved, two clips mixed.

Shapes and units as in :mod:`vaerecon.lab.nb02_vae_round_trip.round_trip`; the pictures are in
:mod:`vaerecon.lab.nb02_vae_round_trip.plots`.

Notebook: ``02_vae_round_trip``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from vaerecon.lab.nb02_vae_round_trip.round_trip import RoundTrip, mel_distance
from vaerecon.mel.front_end import log_mel

if TYPE_CHECKING:
    import pandas as pd

    from vaerecon.pipeline.pipeline import ReconstructionPipeline


def draw_mels(pipe: ReconstructionPipeline, trip: RoundTrip, n: int, seed: int = 0) -> torch.Tensor:
    """Decode ``n`` draws from the posterior: ``[n, T, 64]``."""
    if n < 2:
        raise ValueError(f"n: got {n}, expected at least 2 draws: one has no spread")
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(n, *trip.mean.shape, generator=generator)
    # one after another: a batch of long clips would need the memory of all
    latents = trip.mean + (0.5 * trip.logvar).exp() * noise
    return torch.stack([pipe.decode(z, n_frames=len(trip.mel)).cpu() for z in latents])


def _check_channel(latent: torch.Tensor, channel: int) -> None:
    if not 0 <= channel < latent.shape[-3]:
        raise ValueError(
            f"channel: got {channel}, expected 0 to {latent.shape[-3] - 1}: "
            f"the latent {list(latent.shape)} has {latent.shape[-3]} channels"
        )


def silence_channel(latent: torch.Tensor, channel: int, how: str = "zero") -> torch.Tensor:
    """A copy of the latent ``[8, L, 16]`` with one channel saying nothing new.

    Parameters
    ----------
    how
        ``"zero"``: every value 0, the prior's mean. ``"mean"``: each of the 16 rows stands still
        at its own mean over time, so that only what changes is taken away.
    """
    _check_channel(latent, channel)
    if how not in ("zero", "mean"):
        raise ValueError(f"how: got {how!r}, expected 'zero' or 'mean'")
    edited = latent.clone()
    rows = edited[..., channel, :, :]
    rows[...] = 0.0 if how == "zero" else rows.mean(dim=-2, keepdim=True)
    return edited


def walk_channel(latent: torch.Tensor, channel: int, amount: float) -> torch.Tensor:
    """A copy of the latent with ``amount`` standard deviations added to one channel, everywhere.

    The standard deviation is the channel's own, over this clip.
    """
    _check_channel(latent, channel)
    edited = latent.clone()
    rows = edited[..., channel, :, :]
    rows += amount * rows.std(dim=(-2, -1), keepdim=True)
    return edited


def interpolate(
    one: torch.Tensor, other: torch.Tensor, weight: float | torch.Tensor
) -> torch.Tensor:
    """Mix two latents, ``(1 - weight) * one + weight * other``, over the shorter one's time.

    Parameters
    ----------
    one, other
        ``[8, L, 16]`` each, lengths may differ.
    weight
        0 to 1, or a tensor ``[L]`` (of the shorter): a glide from one clip to the other.
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
    """Walk a channel by ``amount`` standard deviations, mix with another clip, decode: [T, 64]."""
    walked = walk_channel(one.mean, channel, amount)
    n_frames = min(len(one.mel), len(other.mel)) if weight else len(one.mel)
    latent = interpolate(walked, other.mean, weight) if weight else walked
    return pipe.decode(latent, n_frames=n_frames).cpu()


def channel_importance(pipe: ReconstructionPipeline, trip: RoundTrip) -> pd.DataFrame:
    """What is lost when a channel is silenced: one row a channel.

    Returns
    -------
    pandas.DataFrame
        ``zero`` and ``mean``: distance to the original's log-mel after :func:`silence_channel`,
        nepers; ``change``: distance of the zeroed one to what the whole latent gives, nepers.
    """
    import pandas as pd

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
    """Three ways to be between two clips, and the two ends, as log-mels of one length.

    ``"latents mixed"`` and ``"log-mels mixed"`` are what the names say; ``"samples mixed"`` is the
    log-mel of an ordinary crossfade, both sounds at once.
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
