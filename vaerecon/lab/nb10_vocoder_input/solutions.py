"""Solutions to the exercises of ``10_vocoder_input``, and their checks."""

from collections.abc import Callable
from functools import partial

import torch

from vaerecon.lab.setup import exercises, require
from vaerecon.mel import damage


def same_level(changed: torch.Tensor, mel: torch.Tensor) -> torch.Tensor:
    """Exercise 1: ``changed``, shifted to the energy of ``mel``: the sum of squared magnitudes."""
    energies = [x.mul(2).exp().sum() for x in (mel, changed)]
    return changed + (energies[0] / energies[1]).log() / 2


def half_contrast(mel: torch.Tensor, amount: float) -> torch.Tensor:
    """Exercise 3: contrast of the lower half of the bins only."""
    half = mel.shape[-1] // 2
    return torch.cat([damage.contrast(mel, amount)[..., :half], mel[..., half:]], dim=-1)


def undo_decibels(mel: torch.Tensor) -> torch.Tensor:
    """Exercise 2: dB of magnitude to nepers."""
    return mel / damage.DB


MEL = -6 + 2 * torch.randn(30, 64, generator=torch.Generator().manual_seed(0))
close = partial(torch.allclose, atol=1e-4)


def check_same_level(answer: Callable[..., torch.Tensor]) -> None:
    quiet = answer(MEL - 3, MEL)
    require(close(quiet, MEL), "3 nepers lower everywhere must come back as it was")
    blurred = damage.blur_bins(MEL, 1.0)
    right = close(answer(blurred, MEL), same_level(blurred, MEL))
    require(right, "of a blurred mel, the sum of exp(2 x) is not that of the original")


def check_half_contrast(answer: Callable[..., torch.Tensor]) -> None:
    found = answer(MEL, 0.1)
    require(torch.equal(found[:, 32:], MEL[:, 32:]), "the upper half must stay as it is")
    right = close(found, half_contrast(MEL, 0.1))
    require(right, "the lower half is that of damage.contrast of the whole mel")


def check_undo_decibels(answer: Callable[..., torch.Tensor]) -> None:
    require(close(answer(damage.decibels(MEL)), MEL), "a neper is 20 / ln 10 dB")


CHECKS, check_exercises = exercises(check_same_level, check_undo_decibels, check_half_contrast)
