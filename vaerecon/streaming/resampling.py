"""Resampling block by block, with a delay that is known exactly.

(soxr, which the kit uses elsewhere, returns the samples of a stream in bursts, up to 40 ms late.)
"""

import math

import torch
import torch.nn.functional as F

from vaerecon.streaming.stages import WindowStage

HALF = 0.003  # s; half the length of the filter: with the padding of a frame, whole groups
BETA, TRANSITION = 8.0, 836.0  # of the Kaiser window; Hz from the pass band to -80 dB
GROUP = 0.01  # s; shortest group of samples that is computed at once


def resampler(rate: int, target: int) -> WindowStage:
    """Return a stage that resamples ``[n, 1]`` from ``rate`` to ``target`` Hz (windowed sinc)."""
    common = math.gcd(rate, target)
    times = math.ceil(GROUP * common)
    takes, gives = rate // common * times, target // common * times
    half = math.ceil(HALF * rate)
    cutoff = min(rate, target) / 2 - TRANSITION / 2  # Hz
    places = torch.arange(takes + 2 * half, dtype=torch.float64) - half
    away = ((torch.arange(gives) * takes / gives)[:, None] - places) / rate  # s
    window = torch.special.i0(BETA * (1 - (away / HALF).square()).clamp_min(0).sqrt())
    matrix = torch.where(away.abs() <= HALF, window * torch.sinc(2 * cutoff * away), 0)
    matrix = (matrix / matrix.sum(dim=1, keepdim=True)).float()

    def resample(x: torch.Tensor) -> torch.Tensor:
        padded = F.pad(x[:, 0], (half, half + -len(x) % takes))
        # group by group, so that rounding does not depend on the number of groups
        groups = padded.unfold(0, takes + 2 * half, takes)
        return torch.cat([matrix @ group for group in groups])[:, None]

    return WindowStage(resample, math.ceil(half / takes) * takes, half, takes, gives)
