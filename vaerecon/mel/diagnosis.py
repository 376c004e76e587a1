"""Check by its values whether a log-mel has the scale that the models were trained with.

A mel of another scale has the same shape, and no model refuses it. :func:`diagnose_mel` detects the
usual mistakes by values that no sound can have, a floor at another value, or noise that fluctuates
too strongly. A mel without a finding may still be wrong: log10 magnitudes, for example, are only
recognised by the value of silence.

Notebooks: ``03_vocoder_dimension_fix``, ``10_vocoder_input``.
"""

import math
import warnings
from dataclasses import dataclass
from functools import lru_cache

import torch

from vaerecon.audio.samples import PEAK, ArrayLike, as_float32
from vaerecon.mel.config import AUDIOLDM_MEL, MelConfig
from vaerecon.mel.damage import DB
from vaerecon.mel.filters import mel_filters
from vaerecon.mel.front_end import hann_window, log_mel

MARGIN = 1.0  # nepers by which a VAE's output may exceed the possible range
CUT = 0.01  # share of values at exactly the lowest level from which on it counts as a floor
EXACT = 1e-3  # nepers; tolerance for equality with a constant
NOISE = (1.6, 2.6)  # relative fluctuation of squared noise: all bins above, their median below
CALM = 0.31  # times the mean of noise; 10 % quantile: 0.34 for squared noise, 0.17 for noise
SEVERAL = 200  # frames needed to measure the fluctuation
FIXES = {
    "layout": "transpose where the mel is made; [T, M] is time before frequency",
    "finite": "clean the samples first",
    "dB": "natural logarithm of the magnitude: divide dB by 8.686 if they are not relative to a "
    "maximum, or use vaerecon.log_mel",
    "power": "sum magnitudes in the mel filters, not their squares: vaerecon.log_mel",
    "min-max": "nepers as they are, nothing scaled file by file: vaerecon.log_mel",
    "level": "samples at a peak of 0.5 and nepers as they are, without mean and deviation: "
    "vaerecon.log_mel",
    "log10": "natural logarithm: multiply by 2.3026",
    "top_db": "do not cut relative to the loudest value of the file (top_db=None)",
    "floor": "clamp the magnitudes at 1e-5 before the logarithm",
}


@dataclass(frozen=True)
class Finding:
    """One fault of a mel."""

    kind: str  # a key of FIXES
    found: str

    @property
    def fix(self) -> str:
        """How to correct the fault."""
        return FIXES[self.kind]

    def __str__(self) -> str:
        return f"{self.kind}: {self.found}; {self.fix}"


@dataclass(frozen=True)
class PossibleRange:
    """Possible range of the log-mel of samples between -0.5 and 0.5, nepers."""

    lowest: float  # the floor
    highest: float  # upper bound of any bin
    highest_mean: float  # upper bound of the mean over the bins of any frame


def possible_range(config: MelConfig = AUDIOLDM_MEL) -> PossibleRange:
    """Return bounds for every sound at peak 0.5, computed from the window and the filters alone.

    By Parseval's theorem, the Cauchy-Schwarz inequality and, for the mean, Jensen's inequality.
    """
    filters = mel_filters(config).double()  # [513, 64]; zero at 0 Hz and at 8 kHz
    energy = PEAK**2 * float(hann_window(config).double().square().sum())  # of a windowed frame
    spectrum = math.sqrt(config.n_fft * energy / 2)  # norm of the bins between 0 Hz and 8 kHz
    loudest = float(filters.norm(dim=0).max()) * spectrum
    mean = float(filters.mean(dim=1).norm()) * spectrum
    return PossibleRange(config.log_floor, math.log(loudest), math.log(mean + config.floor))


def diagnose_mel(mel: ArrayLike, config: MelConfig = AUDIOLDM_MEL) -> list[Finding]:
    """Return the faults of a log-mel that its values reveal; ``[]`` if there are none.

    ``mel`` should be ``[T, 64]`` or ``[B, T, 64]``. Kinds of findings: ``layout``, ``finite``, then
    one of ``dB``, ``power``, ``min-max`` and ``level``, or else one of ``log10``, ``top_db`` and
    ``floor``.

    Raises ValueError for values that are not real numbers, and for an empty array.
    """
    x, bins = as_float32(mel, "log-mel").detach(), config.n_mels
    if x.numel() == 0:
        raise ValueError(f"log-mel: got no values (shape {list(x.shape)}), expected some")
    if x.ndim not in (2, 3) or x.shape[-1] != bins:
        return [Finding("layout", f"shape {list(x.shape)}, expected [T, {bins}]")]
    if not x.isfinite().all():
        return [Finding("finite", "NaN or infinite values")]
    return _scale(x, config) or _lowest(x, config)


def _scale(x: torch.Tensor, config: MelConfig) -> list[Finding]:
    """Detect a mel in other units (dB, power, min-max) or at another level."""
    low, high, mean = float(x.min()), float(x.max()), float(x.mean())
    possible = possible_range(config)
    found = f"values from {low:.2f} to {high:.2f}, expected {possible.lowest:.2f} to at most "
    found += f"{possible.highest:.2f} nepers"
    outside = low < possible.lowest - MARGIN or high > possible.highest + MARGIN
    if low < 2 * possible.lowest - MARGIN or high > 10 or (outside and abs(high) < EXACT):
        return [Finding("dB", found)]
    whole = abs(low - possible.lowest) < EXACT and abs(high) < EXACT
    if whole or (low >= -1 - EXACT and high <= 1 + EXACT):
        return [Finding("min-max", f"values from {low:.2f} to {high:.2f}")]
    if mean > possible.highest_mean:
        reason = f"a mean of {mean:.2f}, expected at most {possible.highest_mean:.2f} nepers"
        return [Finding("level", reason)]
    if outside:
        return [Finding("power", found)]
    if _is_squared_noise(x, config):
        return [Finding("power", "noise that fluctuates twice as strongly as noise does")]
    return []


def _is_squared_noise(x: torch.Tensor, config: MelConfig) -> bool:
    """Whether all bins fluctuate at least like squared noise, most not more, few values less."""
    if x.shape[-2] < SEVERAL:
        return False
    relative = _fluctuation(x, config) / _noise_fluctuation(config).to(x.device)
    ratio, calm = relative.mean(dim=0), (relative < CALM).double().mean()
    return bool((ratio.min() > NOISE[0]) & (ratio.median() < NOISE[1]) & (calm < 0.1))


def _fluctuation(x: torch.Tensor, config: MelConfig) -> torch.Tensor:
    """Return absolute differences of frames that do not overlap, as rows ``[..., M]``."""
    apart = math.ceil(config.n_fft / config.hop_length)
    return (x[..., apart:, :] - x[..., :-apart, :]).abs().reshape(-1, x.shape[-1])


@lru_cache(maxsize=4)
def _noise_fluctuation(config: MelConfig) -> torch.Tensor:
    """Return the mean fluctuation (:func:`_fluctuation`) of 20 s of white noise, ``[M]``."""
    generator = torch.Generator().manual_seed(0)
    samples = torch.randn(20 * config.sample_rate, generator=generator)
    return _fluctuation(log_mel(samples, config), config).mean(dim=0)


def _lowest(x: torch.Tensor, config: MelConfig) -> list[Finding]:
    """Detect a floor at another value: many values at exactly one level, in several bins."""
    low = x.min()
    cut = x == low
    several = cut.reshape(-1, x.shape[-1]).any(dim=0).sum() > 1
    if low < config.log_floor + EXACT or not several or cut.double().mean() < CUT:
        return []
    share = f"{100 * float(cut.double().mean()):.0f} % of the values at {float(low):.3f}"
    if abs(float(low) - config.log_floor / math.log(10)) < EXACT:
        return [Finding("log10", share)]
    span = DB * float(x.max() - low)
    if abs(span - round(span, -1)) < DB * EXACT:
        return [Finding("top_db", f"{share}, exactly {span:.0f} dB below the loudest")]
    return [Finding("floor", f"{share}, expected a floor of {config.log_floor:.3f} nepers")]


_told: list[Finding] = []  # findings of the first warning


def warn_once(mel: torch.Tensor, config: MelConfig = AUDIOLDM_MEL) -> None:
    """Warn, once per process, of a mel in which :func:`diagnose_mel` finds a fault."""
    if not _told and (found := diagnose_mel(mel, config)):
        _told.extend(found)
        warnings.warn(
            f"this is not the log-mel that the model was trained with: {found[0]} "
            "(diagnose_mel; shown once)",
            stacklevel=3,
        )
