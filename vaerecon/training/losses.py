"""Losses on samples: spectra compared at several resolutions, and the mel itself.

References
----------
.. [1] R. Yamamoto et al., "Parallel WaveGAN", ICASSP 2020: the multi-resolution STFT loss.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F

from vaerecon.mel import AUDIOLDM_MEL, magnitude_to_log_mel, stft_frames

# n_fft, hop in samples at 16 kHz: 16, 32, 64 and 128 ms
RESOLUTIONS = ((256, 64), (512, 128), (1024, 256), (2048, 512))


def stft_magnitude(samples: torch.Tensor, n_fft: int, hop: int) -> torch.Tensor:
    """``[B, N] -> [B, F, T]`` magnitudes; 1e-7 under the root keeps the gradient finite."""
    spectrum = torch.stft(
        samples,
        n_fft,
        hop,
        window=torch.hann_window(n_fft, device=samples.device),
        return_complex=True,
    )
    return (spectrum.real.square() + spectrum.imag.square() + 1e-7).sqrt()


def multi_resolution_stft_loss(
    estimate: torch.Tensor, reference: torch.Tensor, resolutions=RESOLUTIONS
) -> torch.Tensor:
    """Spectral convergence plus log-magnitude L1, mean over resolutions [1]_. ``[B, N]`` each."""
    total = estimate.new_zeros(())
    for n_fft, hop in resolutions:
        got, want = stft_magnitude(estimate, n_fft, hop), stft_magnitude(reference, n_fft, hop)
        # per clip, so that quiet crops count as much as loud ones
        error = torch.linalg.vector_norm(got - want, dim=(1, 2))
        convergence = error / torch.linalg.vector_norm(want, dim=(1, 2)).clamp_min(1e-3)
        total = total + convergence.mean() + F.l1_loss(got.log(), want.log())
    return total / len(resolutions)


def log_mel_loss(
    estimate: torch.Tensor, log_mel: torch.Tensor, config=AUDIOLDM_MEL
) -> torch.Tensor:
    """Mean absolute log-mel difference of ``estimate`` ``[B, N]`` to ``log_mel`` ``[B, T, 64]``."""
    return F.l1_loss(magnitude_to_log_mel(_magnitude(estimate, config), config), log_mel)


def fine_log_mel_loss(estimate: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Log-mel L1 with short windows (256 samples), where attacks show. ``[B, N]`` each."""
    config = replace(AUDIOLDM_MEL, n_fft=256, win_length=256, hop_length=64, n_mels=32)
    want = magnitude_to_log_mel(stft_frames(reference, config).abs(), config)
    return F.l1_loss(magnitude_to_log_mel(_magnitude(estimate, config), config), want)


def _magnitude(samples: torch.Tensor, config) -> torch.Tensor:
    """STFT magnitude with a gradient that stays finite at zero."""
    spectrum = stft_frames(samples, config)
    return (spectrum.real.square() + spectrum.imag.square() + 1e-9).sqrt()
