"""Frames to samples: the least-squares inverse of :func:`vaerecon.mel.front_end.stft_frames`.

Conventions as in :mod:`vaerecon.mel.front_end`: ``[N]`` or ``[B, N]``; spectra are ``[T, 513]`` or
``[B, T, 513]``.

References
----------
.. [1] D. Griffin and J. Lim, "Signal estimation from modified short-time Fourier transform",
   IEEE Trans. ASSP 1984.
"""

from __future__ import annotations

import math

import torch

from vaerecon.mel.config import AUDIOLDM_MEL, Framing, MelConfig
from vaerecon.mel.front_end import hann_window


def istft_frames(
    spectrum: torch.Tensor,
    n_samples: int,
    config: MelConfig = AUDIOLDM_MEL,
    framing: Framing = "train",
) -> torch.Tensor:
    """Inverse of :func:`vaerecon.mel.front_end.stft_frames`: samples nearest to ``spectrum`` [1]_.

    Least squares: windowed frames are added up and divided by the sum of the squared windows.

    Parameters
    ----------
    spectrum
        Complex, ``[T, n_fft/2 + 1]`` or ``[B, T, n_fft/2 + 1]``; need not be consistent.
    n_samples
        Length of the result; must be one that gives ``T`` frames, else ``ValueError``.

    Returns
    -------
    torch.Tensor
        ``[N]`` or ``[B, N]``, float32. Gradients pass.
    """
    check_frames(spectrum, n_samples, config, framing)
    window = hann_window(config, str(spectrum.device))
    batch = (spectrum if spectrum.ndim == 3 else spectrum[None]).to(torch.complex64)
    signal = empty_signal(batch.shape[0], batch.shape[1], window, config)
    add_frames(signal, torch.fft.irfft(batch, n=config.n_fft), window)
    signal = (signal * inverse_overlap(batch.shape[1], window, config)).flatten(1)
    start = config.padding(framing)
    signal = signal[:, start : start + n_samples]
    return signal if spectrum.ndim == 3 else signal[0]


def add_frames(
    total: torch.Tensor, frames: torch.Tensor, window: torch.Tensor, first: int = 0
) -> None:
    """Add windowed ``frames [B, t, n_fft]`` to ``total [B, hops, hop]`` from frame ``first`` on.

    A frame covers 6.4 hops, so seven shifted additions of one hop's width do it.
    """
    n_frames, hop = frames.shape[1], total.shape[-1]
    for k in range(math.ceil(len(window) / hop)):
        piece = frames[..., k * hop : (k + 1) * hop]  # the last is shorter: 64 of 160
        place = total[:, first + k : first + k + n_frames, : piece.shape[-1]]
        place.addcmul_(piece, window[k * hop : (k + 1) * hop])


def padded_length(n_frames: int, n_fft: int, hop: int) -> int:
    """Samples of a signal with room for the frames, in whole hops: 8 hops, then one a frame."""
    return (n_frames + math.ceil(n_fft / hop)) * hop


def empty_signal(
    n_items: int, n_frames: int, window: torch.Tensor, config: MelConfig
) -> torch.Tensor:
    """Zeros for ``n_frames`` overlapping frames, ``[B, hops, hop]``: 7 hops, then one a frame."""
    hops = n_frames - 1 + math.ceil(config.n_fft / config.hop_length)
    return window.new_zeros(n_items, hops, config.hop_length)


def inverse_overlap(n_frames: int, window: torch.Tensor, config: MelConfig) -> torch.Tensor:
    """One over the sum of the squared windows, ``[1, hops, hop]``; 0 where none reaches."""
    overlap = empty_signal(1, n_frames, window, config)
    add_frames(overlap, window.expand(1, n_frames, -1), window)
    # below 1e-8 lie the outermost three samples of the padding: no division by almost nothing
    return torch.where(overlap > 1e-8, 1 / overlap, 0.0)


def check_frames(x: torch.Tensor, n_samples: int, config: MelConfig, framing: Framing) -> None:
    """Refuse what is not ``[T, n_fft/2 + 1]`` or ``[B, T, ...]``, or whose T does not fit N."""
    bins = config.n_fft // 2 + 1
    if x.ndim not in (2, 3) or x.shape[-1] != bins:
        raise ValueError(
            f"spectrum: got shape {list(x.shape)}, expected [T, {bins}] or [B, T, {bins}] "
            "(time before frequency); mel_to_magnitude makes one from a log-mel"
        )
    check_n_samples(x.shape[-2], n_samples, config, framing)


def check_n_samples(n_frames: int, n_samples: int, config: MelConfig, framing: Framing) -> None:
    expected = config.n_frames(n_samples, framing)
    if n_samples < 1 or n_frames != expected:
        longest = (n_frames - (framing == "inference")) * config.hop_length
        raise ValueError(
            f"n_samples: got {n_samples}, which has {expected} frames ({framing!r} framing), "
            f"expected the length of {n_frames} frames: "
            f"{max(1, longest - config.hop_length + 1)} to {longest}"
        )
