"""The two signals of a comparison, read in blocks: metrics need the memory of one block only."""

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import torch

from vaerecon.audio.buffers import FileTrack, MemoryTrack, Track
from vaerecon.audio.samples import PEAK, SILENCE, ArrayLike, Reader, as_samples
from vaerecon.mel.config import AUDIOLDM_MEL
from vaerecon.mel.front_end import magnitudes, stft_section
from vaerecon.utils.windows import split

SAMPLE_RATE = AUDIOLDM_MEL.sample_rate  # Hz; of all signals that metrics compare
BLOCK = 10 * SAMPLE_RATE  # samples read at once


class UndefinedScore(ValueError):
    """The metric has no value for this pair of signals; the message says why."""


class Signal:
    """Samples ``[N]`` on the CPU, read in float64 sections, with their mean, energy and peak.

    Raises ValueError, with the name of the signal, if it is not ``[N]``, empty or not finite.
    """

    def __init__(self, samples: ArrayLike | Track, name: str):
        self.name = name
        if isinstance(samples, MemoryTrack):
            samples = samples.values
        self._track = samples if isinstance(samples, FileTrack) else _one_clip(samples, name)
        total, self.energy, self._lowest, self._highest = 0.0, 0.0, math.inf, -math.inf
        for x in self.blocks():
            total += float(x.sum())
            self.energy += float(x.square().sum())
            self._lowest = min(self._lowest, float(x.min()))
            self._highest = max(self._highest, float(x.max()))
        if not math.isfinite(self.energy):
            raise ValueError(f"{name}: got NaN or infinite samples, expected finite ones")
        self.mean = total / len(self)

    def __len__(self) -> int:
        return len(self._track)

    def read(self, start: int, stop: int) -> torch.Tensor:
        """Return the samples from ``start`` to ``stop``, float64."""
        return self._track.read(start, stop).double()

    def scaled(self, gain: float) -> Reader:
        """Return a function that reads the signal without its mean, times ``gain``."""
        return lambda start, stop: (self.read(start, stop) - self.mean) * gain

    def blocks(self) -> Iterator[torch.Tensor]:
        """Yield the whole signal in consecutive blocks."""
        for start, stop in split(len(self), BLOCK):
            yield self.read(start, stop)

    def peak(self, centred: bool = True) -> float:
        """Return the largest absolute value; ``centred``: after removing the mean."""
        mean = self.mean if centred else 0.0
        return max(mean - self._lowest, self._highest - mean)

    def require_sound(self, centred: bool = True) -> None:
        """Raise :class:`UndefinedScore` for silence, or (``centred``) a constant."""
        if self.peak(centred) <= SILENCE:
            reason = f"the {self.name} is silent" + (" (or constant)" if centred else "")
            raise UndefinedScore(reason)


def _one_clip(samples: ArrayLike, name: str) -> MemoryTrack:
    try:
        x = as_samples(samples)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    if x.ndim != 1:
        raise ValueError(
            f"{name}: got shape {list(x.shape)}, expected [N]: metrics score one clip; "
            "call evaluate once for each and summarise with mean_scores"
        )
    return MemoryTrack(x.detach().cpu())


Side = ArrayLike | Track | Signal


def as_pair(reference: Side, estimate: Side) -> tuple[Signal, Signal]:
    """Return both arguments as signals; ValueError if one is invalid, or the lengths differ."""
    ref = reference if isinstance(reference, Signal) else Signal(reference, "reference")
    est = estimate if isinstance(estimate, Signal) else Signal(estimate, "estimate")
    if len(ref) != len(est):
        raise ValueError(
            f"lengths differ: got reference [{len(ref)}] and estimate [{len(est)}], "
            "expected the same number of samples; cut or pad both to one length after aligning them"
        )
    return ref, est


def paired_blocks(ref: Signal, est: Signal) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield pairs of corresponding blocks of both signals."""
    return zip(ref.blocks(), est.blocks(), strict=True)


def one_gain(ref: Signal, est: Signal) -> tuple[Reader, Reader]:
    """Return readers of both without means, with the gain that sets the reference's peak to 0.5."""
    ref.require_sound()
    gain = PEAK / ref.peak()
    return ref.scaled(gain), est.scaled(gain)


def paired_magnitudes(ref: Signal, est: Signal) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield STFT magnitudes ``[t, 513]`` of both, by :func:`one_gain`, at the mel's frames."""
    readers, n_frames = one_gain(ref, est), AUDIOLDM_MEL.n_frames(len(ref))
    for ends in split(n_frames, BLOCK // AUDIOLDM_MEL.hop_length):
        one, other = (magnitudes(stft_section(read, len(ref), *ends)) for read in readers)
        yield one, other


def pieces_of(n_samples: int, longest: int) -> list[tuple[int, int]]:
    """Return equal pieces (to a sample) of at most ``longest``, as ``(start, stop)``."""
    count = math.ceil(n_samples / longest)
    size, longer = divmod(n_samples, count)
    ends = [i * size + min(i, longer) for i in range(count + 1)]
    return list(pairwise(ends))


def ratio_db(above: float, below: float) -> float:
    """Return the ratio of two energies in dB; infinite if one of them is 0."""
    if below == 0:
        return math.inf
    return 10 * math.log10(above / below) if above > 0 else -math.inf


def resample(x: torch.Tensor, source: int, target: int) -> np.ndarray:
    """Resample ``[N]`` samples from ``source`` to ``target`` Hz."""
    import soxr

    return np.asarray(soxr.resample(x.numpy(), source, target))
