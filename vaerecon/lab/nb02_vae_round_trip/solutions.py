"""Solutions to the exercises of notebook 02; a check tells a wrong answer by a hint."""

import math
from collections.abc import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F

from vaerecon.lab.setup import exercises, require
from vaerecon.mel.config import AUDIOLDM_MEL
from vaerecon.models.autoencoder import kl_nats


def bits_per_second(mean: torch.Tensor, logvar: torch.Tensor, seconds: float) -> float:
    """Exercise 1: the latent's KL divergence from the standard normal, bit/s."""
    nats = float(kl_nats(mean, logvar)) * mean.numel()  # kl_nats is a mean over the values
    return nats / math.log(2) / seconds


def keep_channels(latent: torch.Tensor, keep: Iterable[int]) -> torch.Tensor:
    """Exercise 3: a copy of the latent ``[8, L, 16]`` with all channels but ``keep`` at zero."""
    edited, keep = torch.zeros_like(latent), list(keep)
    edited[keep] = latent[keep]
    return edited


def pad_batch(mels: Sequence[torch.Tensor]) -> torch.Tensor:
    """Exercise 2: log-mels as one batch ``[B, T, 64]`` with ``T`` a multiple of 4, and silence."""
    longest = max(len(mel) for mel in mels)
    n_frames = longest + -longest % 4
    floor = AUDIOLDM_MEL.log_floor
    return torch.stack([F.pad(mel, (0, 0, 0, n_frames - len(mel)), value=floor) for mel in mels])


def check_bits_per_second(answer: Callable[..., float]) -> None:
    generator = torch.Generator().manual_seed(0)
    mean = 2 * torch.randn(8, 25, 16, generator=generator)
    logvar = torch.randn(8, 25, 16, generator=generator)
    found = answer(mean, logvar, 0.5)
    ratio = float(found) / bits_per_second(mean, logvar, 0.5)
    require(abs(ratio - math.log(2)) > 0.001, "that is nats; one nat is 1 / ln 2 bits")
    require(abs(ratio - 0.5) > 0.001, "divide by the seconds: here 0.5, which doubles it")
    require(abs(ratio * mean.numel() - 1) > 0.001, "that is for one value; there are 8 x L x 16")
    require(abs(ratio - 1) < 0.001, f"off by a factor of {ratio:.4g}")


def check_keep_channels(answer: Callable[..., torch.Tensor]) -> None:
    latent = torch.randn(8, 5, 16, generator=torch.Generator().manual_seed(0))
    before = latent.clone()
    found = answer(latent, [1, 4])
    require(torch.equal(latent, before), "the latent itself was changed: work on a copy")
    require(found.shape == latent.shape, f"the shape became {list(found.shape)}")
    require(torch.equal(found[[1, 4]], latent[[1, 4]]), "a channel to keep was changed")
    require(torch.equal(found, keep_channels(latent, [1, 4])), "the other channels are not zero")


def check_pad_batch(answer: Callable[..., torch.Tensor]) -> None:
    mels = [torch.full((n_frames, 64), -4.0) for n_frames in (3, 9, 6)]
    found = answer(mels)
    expected = pad_batch(mels)
    shapes = f"got shape {list(found.shape)}, expected {list(expected.shape)}"
    require(found.shape == expected.shape, f"{shapes}: 9 frames, up to the next multiple of 4")
    require(bool((found[0, 3:] != 0).all()), "0.0 is a loud frame; silence is the log floor")
    require(torch.allclose(found, expected), "padded with another value, or at another place")


CHECKS, check_exercises = exercises(check_bits_per_second, check_keep_channels, check_pad_batch)
