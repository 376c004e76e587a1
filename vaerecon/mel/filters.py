"""Mel filters: from 513 frequencies to 64 mel bins."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import torch

from vaerecon.mel.config import AUDIOLDM_MEL, MelConfig

BANDS = (0, 1 / 8, 1 / 4, 1 / 2, 1)  # band edges, as parts of the spectrum; low mels are narrow


@lru_cache(maxsize=16)
def mel_filters(config: MelConfig = AUDIOLDM_MEL, device: str = "cpu") -> torch.Tensor:
    """Return triangular mel filters, Slaney scale and normalisation, ``[n_fft/2 + 1, n_mels]``.

    The transpose of ``librosa.filters.mel`` at its defaults, which the official code calls.
    """
    from librosa.filters import mel

    weights = mel(
        sr=config.sample_rate, n_fft=config.n_fft, n_mels=config.n_mels, fmin=config.fmin,
        fmax=config.fmax,
    )  # fmt: skip
    # librosa: [n_mels, n_fft/2 + 1] -> [n_fft/2 + 1, n_mels], so that frames @ filters works
    with torch.inference_mode(False):  # cached, so it must also work in training
        return torch.from_numpy(weights.T.copy()).to(device)


@dataclass(frozen=True)
class Band:
    """A part of the spectrum, with the mel bins whose filters are not zero there."""

    bins: slice  # of the n_fft/2 + 1 frequencies
    mels: slice  # of the n_mels
    filters: torch.Tensor  # mel_filters[bins, mels]


@lru_cache(maxsize=16)
def bands(config: MelConfig = AUDIOLDM_MEL) -> tuple[Band, ...]:
    """Return the mel filters as a few dense matrices on the CPU, to skip multiplications by 0."""
    filters = mel_filters(config, "cpu")
    found = []
    for start, stop in pairwise(round(len(filters) * part) for part in BANDS):
        seen = filters[start:stop].any(dim=0).nonzero().flatten()
        first, last = (int(seen[0]), int(seen[-1]) + 1) if len(seen) else (0, 0)
        # matrices whose width is a multiple of 8 are multiplied faster
        width = min(-(-(last - first) // 8) * 8, config.n_mels)
        first = min(first, config.n_mels - width)
        mels = slice(first, first + width)
        with torch.inference_mode(False):  # cached, so it must also work in training
            found.append(Band(slice(start, stop), mels, filters[start:stop, mels].contiguous()))
    return tuple(found)


def uses_bands(*arrays: torch.Tensor) -> bool:
    """Whether the filters are applied in bands: on the CPU, if no gradient is needed."""
    gradient = torch.is_grad_enabled() and any(x.requires_grad for x in arrays)
    return arrays[0].device.type == "cpu" and not gradient


def sum_bands(magnitude: torch.Tensor, config: MelConfig = AUDIOLDM_MEL) -> torch.Tensor:
    """Apply the mel filters: STFT magnitudes ``[..., n_fft/2 + 1]`` to linear ``[..., n_mels]``."""
    if not uses_bands(magnitude):
        return magnitude @ mel_filters(config, str(magnitude.device))
    rows = magnitude.reshape(-1, magnitude.shape[-1])
    mel = rows.new_zeros(len(rows), config.n_mels)
    for band in bands(config):
        mel[:, band.mels].addmm_(rows[:, band.bins], band.filters)
    return mel.reshape(*magnitude.shape[:-1], config.n_mels)
