"""Every method written out plainly, for one clip, in float64: what the registered ones must be.

Nothing of the package is used here but the networks' weights: no blocks, no bands, no combs, and
every projection over whole arrays. Spectra are ``[T, 513]``, mels linear ``[T, 64]``, signals
padded by 432 samples at each end, ``[L]``.
"""

from __future__ import annotations

import math

import librosa
import numpy as np
import torch
import torch.nn.functional as F

HOP, N_FFT, PAD, TINY = 160, 1024, 432, 1e-15
WINDOW = torch.hann_window(N_FFT, dtype=torch.float64)
FILTERS = torch.from_numpy(librosa.filters.mel(sr=16000, n_fft=N_FFT, n_mels=64)).double()
BACK = FILTERS / FILTERS.sum(dim=0).clamp_min(TINY)  # [64, 513]


def linear(log_mel: torch.Tensor) -> torch.Tensor:
    return torch.where(log_mel <= math.log(1e-5) + 1e-4, 0.0, log_mel.double().exp())


def towards_mel(magnitude: torch.Tensor, mel: torch.Tensor, steps: int = 1) -> torch.Tensor:
    """Expectation maximisation."""
    for _ in range(steps):
        magnitude = magnitude * ((mel / (magnitude @ FILTERS.T).clamp_min(TINY)) @ BACK)
    return magnitude


def spectra(padded: torch.Tensor) -> torch.Tensor:
    return torch.fft.rfft(padded.unfold(-1, N_FFT, HOP) * WINDOW)


def spectra_of(samples: torch.Tensor) -> torch.Tensor:
    """Of ``[N]``, reflected up to whole frames."""
    tail = PAD + -len(samples) % HOP
    return spectra(F.pad(samples.double()[None], (PAD, tail), mode="reflect")[0])


def overlap_add(spectrum: torch.Tensor, elsewhere: torch.Tensor, places: range) -> torch.Tensor:
    """The padded signal nearest to the frames at ``places``; ``elsewhere`` where none reaches."""
    total, weight = torch.zeros(2, len(elsewhere), dtype=torch.float64)
    for i in places:
        part = slice(HOP * i, HOP * i + N_FFT)
        total[part] += WINDOW * torch.fft.irfft(spectrum[i], N_FFT)
        weight[part] += WINDOW**2
    least = 1e-8 if places.step == 1 else 1e-3
    return torch.where(weight > least, total / weight.clamp_min(least), elsewhere)


def impose(spectrum: torch.Tensor, guess: torch.Tensor, mel: torch.Tensor | None) -> torch.Tensor:
    """The known magnitude with this phase; of a mel, what one step from 97 % of its own gives."""
    own = spectrum.abs()
    wanted = guess if mel is None else towards_mel(0.03 * guess + 0.97 * own, mel)
    return spectrum * (wanted / (own + TINY))


def sinusoids(magnitude: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Single pass spectrogram inversion: the phase advances by the frequency of the peak."""
    k = torch.arange(513)
    cycles = torch.rand(513, generator=generator).double() + k % 2 / 2
    frames = []
    for a in magnitude:
        below, above = a.roll(1), a.roll(-1)
        uphill = (below - above) / 2 / (below + above - 2 * a).clamp_max(-TINY)
        cycles = cycles + (k + uphill.clamp(-1.5, 1.5)) * HOP / N_FFT
        frames.append(torch.polar(a, 2 * math.pi * cycles))
    return torch.stack(frames)


def griffin_lim(
    guess: torch.Tensor, mel: torch.Tensor | None, start: torch.Tensor, n_samples: int, steps: int
) -> torch.Tensor:
    """Fast Griffin-Lim, momentum 0.95; even frames, then odd ones, in every step."""
    count = len(guess)
    padded = torch.zeros((count + 7) * HOP, dtype=torch.float64)
    signal = before = overlap_add(impose(start, guess, mel), padded, range(count))
    for _ in range(steps):
        for first in (0, 1):
            ahead = signal + 0.95 * (signal - before)
            imposed = impose(spectra(ahead)[:count], guess, mel)
            before, signal = signal, overlap_add(imposed, ahead, range(first, count, 2))
    return signal[PAD : PAD + n_samples]


def admm(
    guess: torch.Tensor, mel: torch.Tensor, start: torch.Tensor, n_samples: int
) -> torch.Tensor:
    """Masuyama et al. 2019, rho 0.1, 32 steps: x known, z consistent, u what they disagree on."""
    padded = torch.zeros((len(guess) + 7) * HOP, dtype=torch.float64)

    def consistent(x: torch.Tensor) -> torch.Tensor:
        return spectra(overlap_add(x, padded, range(len(guess))))[: len(guess)]

    z = (consistent(impose(start, guess, mel)) + 0.1 * start) / 1.1
    u = start - z
    for _ in range(32):
        total = impose(z - u, guess, mel) + u
        z = (consistent(total) + 0.1 * total) / 1.1
        u = total - z
    known = impose(z, guess, mel)
    return overlap_add(known, padded, range(len(guess)))[PAD : PAD + n_samples]


def librosa_audio(log_mel: torch.Tensor, n_samples: int) -> torch.Tensor:
    """``mel_to_audio`` itself; its frames are 80 samples earlier."""
    padded = np.pad(log_mel.exp().numpy().T, ((0, 0), (1, 1)), mode="edge")
    settings = {"sr": 16000, "n_fft": N_FFT, "hop_length": HOP, "power": 1.0}
    audio = librosa.feature.inverse.mel_to_audio(padded, **settings)
    return torch.from_numpy(audio[80 : 80 + n_samples]).double()
