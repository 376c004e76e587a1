"""A clip encoded and decoded by the VAE: its error, its bit rate, and edits of its latent.

Log-mels are ``[T, 64]`` in nepers, latents ``[8, L, 16]`` with ``L = ceil(T / 4)``, samples ``[N]``
at the front-end's level. Notebook: ``02_vae_round_trip``.

The KL divergence of a posterior from a prior is the cost of a sample, if sender and receiver know
that prior (bits-back: Hinton and van Camp, COLT 1993): a bound. A real coder nearly reaches the
entropy of the quantised latent.
"""

from collections.abc import Sequence
from dataclasses import dataclass

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
STEPS = (4.0, 2.0, 1.0, 0.5, 0.25)  # quantisation steps, in the unit of latent or log-mel


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
    mean, logvar = (x.cpu() for x in autoencoder.posterior(pipe.vae, mel))
    decoded = pipe.decode(mean, n_frames=len(mel)).cpu()
    return RoundTrip(clip, samples, mel, mean, logvar, decoded)


def synthesize(
    pipe: ReconstructionPipeline,
    mels: dict[str, torch.Tensor],
    method: str = "griffinlim",
    n_samples: int | None = None,
) -> dict[str, torch.Tensor]:
    """Sounds ``[N]`` (``160 T`` by default) of several log-mels by one method and one seed."""
    return {name: pipe.synthesize(mel, method, n_samples).cpu() for name, mel in mels.items()}


def channel_statistics(mean: torch.Tensor, logvar: torch.Tensor) -> pd.DataFrame:
    """Distribution, uncertainty and KL divergence of each channel of ``[8, L, 16]``, in rows.

    Columns: ``mean`` and ``std`` of the posterior's means over the clip; ``sigma``, the posterior's
    own standard deviation (root mean square); ``kl``, from the standard normal, nats per value;
    ``information``, the same from the normal that fits this channel best.
    """
    over_clip = (-2, -1)  # the dimensions of time and of the 16 rows
    variance = logvar.exp().mean(over_clip)
    spread = mean.var(over_clip, correction=0)
    columns = {
        "mean": mean.mean(over_clip),
        "std": spread.sqrt(),
        "sigma": variance.sqrt(),
        "kl": (0.5 * (mean**2 + logvar.exp() - 1 - logvar)).mean(over_clip),
        # KL from N(m, v), averaged, with v = spread + variance: only the logarithms are left
        "information": 0.5 * ((spread + variance).log() - logvar.mean(over_clip)),
    }
    table = pd.DataFrame({name: x.tolist() for name, x in columns.items()})
    return table.rename_axis("channel")


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


def _edited(latent: torch.Tensor, channel: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A copy of ``[8, L, 16]``, and one of its channels, to be changed in place."""
    if not 0 <= channel < latent.shape[-3]:
        raise ValueError(
            f"channel: got {channel}, expected 0 to {latent.shape[-3] - 1}: "
            f"the latent {list(latent.shape)} has {latent.shape[-3]} channels"
        )
    copy = latent.clone()
    return copy, copy[..., channel, :, :]


def silence_channel(latent: torch.Tensor, channel: int, how: str = "zero") -> torch.Tensor:
    """A copy of the latent ``[8, L, 16]`` with one channel constant.

    ``how`` is ``"zero"``, the prior's mean, or ``"mean"``, the mean over time of each of the 16
    rows, so that only the changes are removed.
    """
    if how not in ("zero", "mean"):
        raise ValueError(f"how: got {how!r}, expected 'zero' or 'mean'")
    edited, rows = _edited(latent, channel)
    rows[...] = 0.0 if how == "zero" else rows.mean(dim=-2, keepdim=True)
    return edited


def walk_channel(latent: torch.Tensor, channel: int, amount: float) -> torch.Tensor:
    """A copy of the latent with ``amount`` of its own standard deviations added to a channel."""
    edited, rows = _edited(latent, channel)
    rows += amount * rows.std(dim=(-2, -1), keepdim=True)
    return edited


def interpolate(
    one: torch.Tensor, other: torch.Tensor, weight: float | torch.Tensor
) -> torch.Tensor:
    """Mix two latents ``[8, L, 16]``, ``(1 - weight) * one + weight * other``.

    The result has the length of the shorter one. ``weight`` is 0 to 1, or a tensor ``[L]`` of that
    length: a transition from one clip to the other.
    """
    length, weight = min(one.shape[-2], other.shape[-2]), torch.as_tensor(weight).float()
    if weight.ndim == 1 and len(weight) != length:
        raise ValueError(f"weight: got [{len(weight)}], expected a number or [{length}]")
    return torch.lerp(one[..., :length, :], other[..., :length, :], weight.reshape(-1, 1))
