"""Solutions to the exercises of ``10_vocoder_input``, and their checks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from vaerecon.lab.setup import by_exercise, check_answers, require
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


def check_same_level(answer: Callable[..., torch.Tensor]) -> None:
    mel = -6 + 2 * torch.randn(30, 64, generator=torch.Generator().manual_seed(0))
    quiet = answer(mel - 3, mel)
    require(
        torch.allclose(quiet, mel, atol=1e-4), "3 nepers lower everywhere must come back as it was"
    )
    blurred = damage.blur_bins(mel, 1.0)
    close = torch.allclose(answer(blurred, mel), same_level(blurred, mel), atol=1e-4)
    require(close, "of a blurred mel, the sum of exp(2 x) is not that of the original")


def check_half_contrast(answer: Callable[..., torch.Tensor]) -> None:
    mel = -6 + 2 * torch.randn(30, 64, generator=torch.Generator().manual_seed(0))
    found = answer(mel, 0.1)
    require(torch.equal(found[:, 32:], mel[:, 32:]), "the upper half must stay as it is")
    close = torch.allclose(found, half_contrast(mel, 0.1), atol=1e-4)
    require(close, "the lower half is that of damage.contrast of the whole mel")


def check_undo_decibels(answer: Callable[..., torch.Tensor]) -> None:
    mel = torch.linspace(-11, 1, 128).reshape(2, 64)
    found = answer(damage.decibels(mel))
    require(torch.allclose(found, mel, atol=1e-4), "a neper is 20 / ln 10 dB")


CHECKS = by_exercise(check_same_level, check_undo_decibels, check_half_contrast)
check_exercises = partial(check_answers, CHECKS)
