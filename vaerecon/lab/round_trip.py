"""What the VAE keeps: a clip's way through the latent and back, measured and taken apart.

Every function takes a :class:`RoundTrip` or plain tensors and returns tensors or a pandas table;
the pictures are in :mod:`vaerecon.lab.round_trip_plots`. Log-mels are ``[T, 64]`` in nepers,
latents ``[8, L, 16]`` with ``L = ceil(T / 4)``, samples ``[N]`` at the front-end's level.

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
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from vaerecon import autoencoder
from vaerecon.audio import Clip
from vaerecon.mel import log_mel
from vaerecon.mel_config import AUDIOLDM_MEL
from vaerecon.samples import normalize_level

if TYPE_CHECKING:
    import pandas as pd

    from vaerecon.pipeline import ReconstructionPipeline

PCM_BITS = 16  # a sample on a CD, or in a wav file
STEPS = (4.0, 2.0, 1.0, 0.5, 0.25)  # to round a latent or a log-mel to, in its own unit
MEL_RATE = 64 * AUDIOLDM_MEL.frames_per_second  # log-mel values a second
LATENT_RATE = 8 * 16 * AUDIOLDM_MEL.frames_per_second / 4  # latent values a second


@dataclass(frozen=True)
class RoundTrip:
    """A clip, its log-mel, its latent, and the log-mel that comes back."""

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
    """Send a clip through the VAE by the posterior's mode. Everything returned is on the CPU."""
    samples, _ = normalize_level(clip.samples)
    mel = log_mel(samples, normalize=False)
    mean, logvar = (x.cpu() for x in autoencoder.posterior(pipe.vae, mel))
    decoded = pipe.decode(mean, n_frames=len(mel)).cpu()
    return RoundTrip(clip, samples, mel, mean, logvar, decoded)


# ------------------------------------------------------------------ shapes and bits


def shapes(trip: RoundTrip) -> pd.DataFrame:
    """What each stage is, how many values it has, and how many of them a second takes."""
    import pandas as pd

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


def channel_statistics(mean: torch.Tensor, logvar: torch.Tensor) -> pd.DataFrame:
    """One row a latent channel: how its values lie, how sure the encoder is, what it costs.

    Parameters
    ----------
    mean, logvar
        ``[8, L, 16]`` each, as from :func:`vaerecon.autoencoder.posterior`.

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


# ------------------------------------------------------------------ where the error is


def error_by_level(mel: torch.Tensor, decoded: torch.Tensor) -> pd.DataFrame:
    """Error against how loud the original is, in classes one neper wide.

    Returns
    -------
    pandas.DataFrame
        Index ``level`` (nepers below the loudest value, 0 to the left of its class); ``mae`` and
        ``bias`` (decoded minus original) in nepers, ``share`` of the values.
    """
    import pandas as pd

    difference = (decoded - mel).flatten()
    below = (mel - mel.max()).floor().clamp_max(-1).flatten()
    frame = pd.DataFrame({"level": below, "bias": difference, "mae": difference.abs()})
    table = frame.groupby("level").mean()
    table["share"] = frame.groupby("level").size() / len(frame)
    return table


def sound_errors(
    pipe: ReconstructionPipeline, trip: RoundTrip, methods: Sequence[str]
) -> pd.DataFrame:
    """The VAE's error as seen directly, and as seen through each method's sound.

    Returns
    -------
    pandas.DataFrame
        A row for the log-mel itself ("direct") and one for each method; ``without VAE`` and
        ``with VAE``: the distance to the original's log-mel, nepers; ``VAE seems to cost``: their
        difference.
    """
    import pandas as pd

    rows = {"direct": (0.0, trip.mae)}
    for method in methods:
        sounds = synthesize(pipe, {"a": trip.mel, "b": trip.decoded}, method, len(trip.samples))
        mels = (log_mel(x, normalize=False) for x in sounds.values())
        rows[method] = tuple(mel_distance(m, trip.mel) for m in mels)
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["without VAE", "with VAE"])
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


# ------------------------------------------------------------------ the latent as an instrument


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


# ------------------------------------------------------------------ two traps


def swap_axes(pipe: ReconstructionPipeline, mel: torch.Tensor) -> torch.Tensor:
    """What comes back, ``[T', 64]``, if time and frequency are swapped on the way to the model.

    Past this package's checks, straight into the model: it is convolutional and takes a picture of
    any size, so nothing fails. ``T'`` is ``T`` cut to a multiple of 4.
    """
    picture = mel[: len(mel) // 4 * 4].T[None, None]  # [T, 64] -> [1, 1, 64, T], on purpose
    with torch.inference_mode():
        latent = pipe.vae.encode(picture.to(pipe.vae.device, pipe.vae.dtype)).latent_dist.mode()
        return pipe.vae.decode(latent).sample[0, 0].T.float().cpu()  # and back to [T', 64]


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
    """For each of :func:`decode_padded`: the error of the real frames, and how loud the rest is.

    Returns
    -------
    pandas.DataFrame
        ``error of the clip``, nepers; ``level of the padding``, the mean of its decoded log-mel,
        nepers (NaN without padding); ``level of the clip``, the same of the original.
    """
    import pandas as pd

    rows = {
        name: {
            "error of the clip": mel_distance(x[: len(mel)], mel),
            "level of the padding": float(x[len(mel) :].mean()),
            "level of the clip": float(mel.mean()),
        }
        for name, x in decoded.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")
