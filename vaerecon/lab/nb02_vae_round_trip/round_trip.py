"""What the VAE keeps: a clip's way through the latent and back, its error, and two traps.

Every function takes a :class:`RoundTrip` or plain tensors and returns tensors or a pandas table;
the pictures are in :mod:`vaerecon.lab.nb02_vae_round_trip.plots`. Log-mels are ``[T, 64]`` in
nepers, latents ``[8, L, 16]`` with ``L = ceil(T / 4)``, samples ``[N]`` at the front-end's level.
What a latent costs in bits is in :mod:`vaerecon.lab.nb02_vae_round_trip.rate_distortion`, what can
be done to one in :mod:`vaerecon.lab.nb02_vae_round_trip.latent_edits`.

Notebook: ``02_vae_round_trip``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from vaerecon.audio.clip import Clip
from vaerecon.audio.samples import normalize_level
from vaerecon.mel.config import AUDIOLDM_MEL
from vaerecon.mel.front_end import log_mel
from vaerecon.models import autoencoder

if TYPE_CHECKING:
    import pandas as pd

    from vaerecon.pipeline.pipeline import ReconstructionPipeline

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


# ------------------------------------------------------------------ two traps


def swap_axes(pipe: ReconstructionPipeline, mel: torch.Tensor) -> torch.Tensor:
    """What comes back, ``[T', 64]``, if time and frequency are swapped on the way to the model.

    Past this package's checks, straight into the model: it is convolutional and takes a picture of
    any size, so nothing fails. ``T'`` is ``T`` cut to a multiple of 4.
    """
    picture = mel[: len(mel) // 4 * 4].T[None, None]  # [T, 64] -> [1, 1, 64, T], on purpose
    with torch.no_grad():
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
