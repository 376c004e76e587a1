"""Changes that degrade a log-mel before it reaches a vocoder, as pure functions of an amount.

Each takes a mel ``[..., T, M]`` in nepers and an amount, and returns a mel of that shape; amount 0
returns it unchanged. For other scales (dB, power, ...) the amount interpolates: 0 is nepers, 1 is
the other scale. :data:`DAMAGES` lists them by name.

Notebooks: ``03_vocoder_dimension_fix``, ``10_vocoder_input``.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from vaerecon.mel.config import AUDIOLDM_MEL

DB = 20 / math.log(10)  # dB per neper, 8.69
TOP_DB = 80.0  # dB; librosa clamps values that are further below the maximum
FLOOR = AUDIOLDM_MEL.log_floor


def shift(mel: torch.Tensor, amount: float) -> torch.Tensor:
    """Raise the level by ``amount`` nepers."""
    return mel + amount


def floor(mel: torch.Tensor, amount: float) -> torch.Tensor:
    """Raise the floor to ``amount`` nepers above AudioLDM2's (-11.51)."""
    return mel.clamp_min(FLOOR + amount) if amount else mel


def ceiling(mel: torch.Tensor, amount: float) -> torch.Tensor:
    """Clip values above ``amount`` nepers below the loudest one."""
    return mel.clamp_max(float(mel.max()) - amount)


def blur_time(mel: torch.Tensor, amount: float) -> torch.Tensor:
    """Convolve with a Gaussian whose standard deviation is ``amount`` frames."""
    return _blur(mel.transpose(-1, -2), amount).transpose(-1, -2)  # time last, and back


def blur_bins(mel: torch.Tensor, amount: float) -> torch.Tensor:
    """Convolve with a Gaussian whose standard deviation is ``amount`` mel bins."""
    return _blur(mel, amount)


def _blur(x: torch.Tensor, deviation: float) -> torch.Tensor:
    """Convolve with a Gaussian along the last axis; the values at the ends are repeated."""
    if not deviation:
        return x
    radius = max(1, math.ceil(3 * deviation))
    kernel = torch.exp(
        -(torch.arange(-radius, radius + 1.0, device=x.device) ** 2) / 2 / deviation**2
    )
    rows = F.pad(x.reshape(-1, 1, x.shape[-1]), (radius, radius), mode="replicate")
    return F.conv1d(rows, (kernel / kernel.sum())[None, None]).reshape(x.shape)


def sharpen(mel: torch.Tensor, amount: float) -> torch.Tensor:
    """Add ``amount`` times the detail that a blur over one mel bin removes."""
    return mel + amount * (mel - blur_bins(mel, 1.0))


def contrast(mel: torch.Tensor, amount: float) -> torch.Tensor:
    """Stretch by ``1 + amount`` about the mean; keeps the mean magnitude, clamps at the floor."""
    if not amount:
        return mel
    mean = mel.mean(dim=(-2, -1), keepdim=True)
    stretched = mean + (1 + amount) * (mel - mean)
    before, after = (x.exp().mean(dim=(-2, -1), keepdim=True).log() for x in (mel, stretched))
    return (stretched + before - after).clamp_min(FLOOR)


def noise(mel: torch.Tensor, amount: float) -> torch.Tensor:
    """Add white noise with a standard deviation of ``amount`` nepers and a fixed seed."""
    generator = torch.Generator().manual_seed(0)
    return mel + amount * torch.randn(mel.shape, generator=generator).to(mel.device)


def decibels(mel: torch.Tensor, amount: float = 1.0) -> torch.Tensor:
    """Convert nepers to dB: 8.69 dB per neper."""
    return mel * (1 + amount * (DB - 1))


def power(mel: torch.Tensor, amount: float = 1.0) -> torch.Tensor:
    """Convert log magnitude to log power: twice the value."""
    return mel * (1 + amount)


def log10(mel: torch.Tensor, amount: float = 1.0) -> torch.Tensor:
    """Convert the natural logarithm to base 10: 1 for 2.30 nepers."""
    return mel * (1 + amount * (1 / math.log(10) - 1))


def min_max(mel: torch.Tensor, amount: float = 1.0) -> torch.Tensor:
    """Convert to dB below the maximum (at most 80), scaled to 0..1 per file, as tutorials do."""
    below = (DB * (mel - mel.max())).clamp_min(-TOP_DB)
    scaled = (below - below.min()) / (-below.min()).clamp_min(1e-9)
    return torch.lerp(mel, scaled, amount) if amount else mel


def top_db(mel: torch.Tensor, amount: float = 1.0) -> torch.Tensor:
    """Clamp at 80 dB below the maximum, as librosa does, in nepers; ``amount`` 0 does nothing."""
    return mel.clamp_min(float(mel.max()) - TOP_DB / DB) if amount else mel


@dataclass(frozen=True)
class Damage:
    """One change of a mel, with its label, its unit, and amounts to try."""

    function: Callable[[torch.Tensor, float], torch.Tensor]
    label: str
    unit: str
    amounts: tuple[float, ...]


DAMAGES = {
    "shift": Damage(shift, "another level", "nepers", (-2, -1, 0, 1, 2)),
    "floor": Damage(floor, "a higher floor", "nepers", (0, 2.5, 4.5, 6.5, 8.5)),
    "ceiling": Damage(ceiling, "a ceiling", "nepers below the maximum", (0, 1, 2, 3)),
    "blur_time": Damage(blur_time, "blur in time", "frames", (0, 0.5, 1, 2)),
    "blur_bins": Damage(blur_bins, "blur in frequency", "mel bins", (0, 0.5, 1, 2)),
    "sharpen": Damage(sharpen, "sharper in frequency", "times the detail", (0, 0.2, 0.4, 0.8)),
    "contrast": Damage(contrast, "contrast", "times more", (-0.2, -0.1, 0, 0.1, 0.2)),
    "noise": Damage(noise, "noise", "nepers", (0, 0.1, 0.2, 0.5, 1)),
    "decibels": Damage(decibels, "dB for nepers", "of the way", (0, 0.02, 0.05, 0.1, 1)),
    "power": Damage(power, "power for magnitude", "of the way", (0, 0.1, 0.2, 0.5, 1)),
    "log10": Damage(log10, "log10 for ln", "of the way", (0, 0.1, 0.2, 0.5, 1)),
    "min_max": Damage(min_max, "dB as 0 to 1", "of the way", (0, 0.1, 0.2, 0.5, 1)),
    "top_db": Damage(top_db, "cut at 80 dB", "", (0, 1)),
}
