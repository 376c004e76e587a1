"""Check samples (real, finite, ``[N]`` or ``[B, N]``) and normalise their level.

AudioLDM2's models were all trained on sounds with zero mean and a peak of 0.5.
:func:`normalize_level` applies that, and returns the removed mean and gain as a :class:`Level`.

Notebook: ``01_mel_analysis``.
"""

import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vaerecon.audio.clip import Clip, load_audio
from vaerecon.audio.conversion import check_finite, full_scale, refusal, to_float32
from vaerecon.audio.paths import sounds_below
from vaerecon.utils.numbers import is_number
from vaerecon.utils.windows import split

ArrayLike = np.ndarray | torch.Tensor | list[float]
Reader = Callable[[int, int], torch.Tensor]  # (start, stop) -> that section of a sound

PEAK = 0.5  # peak of a normalised waveform; audioldm_train dataset.py, normalize_wav
SILENCE = 1e-8  # a peak at or below this is silence; same function, its division guard


@dataclass(frozen=True)
class Level:
    """Mean and gain of :func:`normalize_level`: ``normalised = (samples - mean) * gain``.

    Scalars, or ``[B, 1]`` for a batch.
    """

    mean: torch.Tensor
    gain: torch.Tensor
    silent: torch.Tensor | bool = False  # constant samples, which are normalised to zeros

    def apply(self, samples: torch.Tensor) -> torch.Tensor:
        """Normalise ``samples``, or a section of them."""
        silent = torch.as_tensor(self.silent, device=samples.device)
        return (samples - self.mean).mul_(torch.where(silent, 0.0, self.gain))

    def restore(self, normalized: torch.Tensor) -> torch.Tensor:
        """Scale ``normalized`` back to the level of the original; the mean (DC) stays removed."""
        return normalized / self.gain.to(normalized.device)


def as_float32(values: ArrayLike, name: str) -> torch.Tensor:
    """Return real numbers as a float32 tensor; numpy arrays (any byte order, stride) are copied."""
    x = values if isinstance(values, torch.Tensor) else np.asarray(values)
    is_real = not x.is_complex() if isinstance(x, torch.Tensor) else x.dtype.kind in "fiub"
    if not is_real:
        raise ValueError(f"{name}: got {x.dtype}, expected real numbers, such as float32")
    if isinstance(x, torch.Tensor):
        return x.to(torch.float32)
    # independent of the caller's numpy error settings; infinite values are refused later
    with np.errstate(over="ignore", under="ignore"):
        return torch.from_numpy(np.array(x, dtype=np.float32, order="C"))


def as_samples(samples: ArrayLike) -> torch.Tensor:
    """Return ``samples`` as a float32 tensor ``[N]`` or ``[B, N]``.

    int16 and int32 are scaled to -1..1, floats are kept. Raises ValueError for another shape, no
    samples, values that are not finite, or other integer types.
    """
    if isinstance(samples, torch.Tensor):
        try:
            scale = full_scale(samples.dtype)
        except TypeError as error:
            raise refusal(samples, error) from None
        x = samples.to(torch.float32)
        x = x if scale == 1 else x / scale
    else:
        x = torch.from_numpy(to_float32(samples))
    if x.ndim not in (1, 2):
        raise ValueError(
            f"samples: got shape {list(x.shape)}, expected [N] or [B, N]; "
            "mix channels down first, for example samples.mean(axis=0)"
        )
    if x.numel() == 0:
        raise ValueError(f"samples: got none (shape {list(x.shape)}), expected at least one")
    if x.ndim == 2 and x.shape[0] > x.shape[1] and x.shape[1] <= 8:
        raise ValueError(
            f"samples: got shape {list(x.shape)}, which looks like [N, channels]; "
            "expected [B, N]: mix down or transpose"
        )
    if not torch.isfinite(x.sum()):  # a finite sum has only finite terms, and is quicker to check
        check_finite(x.detach().cpu().numpy(), "samples")
    return x


def as_clip(sound: Any, sample_rate: int) -> Clip:
    """Return ``sound`` as a clip; ValueError for anything else than the following.

    A clip; a file name (``str`` or ``Path``); an item of an audio dataset, ``{"array": ...,
    "sampling_rate": ...}``; ``(samples, rate)``, as ``librosa.load`` returns them; or samples
    ``[N]`` at ``sample_rate``.
    """
    if isinstance(sound, Clip):
        return sound
    if isinstance(sound, str | os.PathLike):
        return load_audio(sound, sample_rate=sample_rate)
    if isinstance(sound, Mapping) and {"array", "sampling_rate"} <= set(sound):
        return Clip.from_samples(sound["array"], sound["sampling_rate"])
    if isinstance(sound, tuple) and [is_number(one) for one in sound] == [False, True]:
        return Clip.from_samples(*sound)
    return Clip(as_samples(sound).cpu().numpy(), sample_rate)


def first_seconds(
    clips: str | os.PathLike[str] | Iterable[Any], seconds: float, sample_rate: int = 16000
) -> Iterator[Clip]:
    """Yield the start of each of ``clips``: folders, files, or anything :func:`as_clip` takes."""
    for given in [clips] if isinstance(clips, str | os.PathLike) else clips:
        if isinstance(given, str | os.PathLike):
            path = Path(given)
            for file in sounds_below(path)[0] if path.is_dir() else [given]:
                yield load_audio(file, seconds, sample_rate=sample_rate)
        else:
            clip = as_clip(given, sample_rate)
            yield Clip(clip.samples[: round(seconds * sample_rate)], sample_rate, clip.name)


def normalize_level(samples: ArrayLike) -> tuple[torch.Tensor, Level]:
    """Remove the mean and scale the peak to 0.5, as AudioLDM2's training did.

    Returns samples of the same shape, ``[N]`` or ``[B, N]``, which are zeros where the input is
    silent (with a warning), and the :class:`Level`, whose ``restore`` undoes the scaling.
    """
    x = as_samples(samples)
    batched = x.ndim == 2
    mean, lowest, highest = x.mean(-1, batched), x.amin(-1, batched), x.amax(-1, batched)
    level = _level(mean, lowest, highest)
    return level.apply(x), level


def measure_level(n_samples: int, read: Reader, longest: int) -> Level:
    """Return the level of one clip that is read in sections of ``longest`` samples.

    For a clip no longer than that, the values are exactly those of :func:`normalize_level`.
    """
    if n_samples <= longest:
        return normalize_level(read(0, n_samples))[1]
    total, lowest, highest = 0.0, math.inf, -math.inf
    for start, stop in split(n_samples, longest):
        x = read(start, stop)
        total += float(x.double().sum())
        lowest, highest = min(lowest, float(x.min())), max(highest, float(x.max()))
    mean = torch.tensor(total / n_samples, dtype=torch.float32)
    bounds = torch.tensor([lowest, highest], dtype=torch.float32)
    return _level(mean, bounds[0], bounds[1])


def _level(mean: torch.Tensor, lowest: torch.Tensor, highest: torch.Tensor) -> Level:
    peak = torch.maximum(highest - mean, mean - lowest)
    silent = peak <= SILENCE
    if silent.any():
        warnings.warn("samples are silent (or constant): kept as zeros, gain 1", stacklevel=3)
    gain = torch.where(silent, torch.ones_like(peak), PEAK / peak.clamp_min(SILENCE))
    return Level(mean, gain, silent)
