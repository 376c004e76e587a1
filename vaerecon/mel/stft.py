"""Frames to samples: overlap-add, and the least-squares inverse of the STFT.

Conventions as in :mod:`vaerecon.mel.front_end`; spectra are ``[T, 513]`` or ``[B, T, 513]``.

References
----------
.. [1] D. Griffin and J. Lim, "Signal estimation from modified short-time Fourier transform",
   IEEE Trans. ASSP 1984.
"""

import math
from collections.abc import Iterator

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
    ``[T, n_fft/2 + 1]`` or ``[B, T, n_fft/2 + 1]``, complex, to ``[N]`` or ``[B, N]``, float32; a
    ValueError if ``n_samples`` do not have ``T`` frames. Gradients pass.
    """
    check_frames(spectrum, n_samples, config, framing)
    window = hann_window(config, str(spectrum.device))
    batch = (spectrum if spectrum.ndim == 3 else spectrum[None]).to(torch.complex64)
    frames = EveryNthFrame(0, 1, batch.shape[1], window, config.hop_length)
    signal = window.new_zeros(len(batch), frames.length)
    frames.add(signal, torch.fft.irfft(batch, n=config.n_fft), 0)
    start = config.padding(framing)
    signal = (signal * frames.inverse)[:, start : start + n_samples]
    return signal if spectrum.ndim == 3 else signal[0]


class EveryNthFrame:
    """Every ``step``-th frame from ``first`` on: cut out of a padded signal, or overlap-added.

    Frame 0 begins at sample ``offset`` of the signal, which has ``length`` samples (default: those
    that the frames need).
    """

    def __init__(
        self, first: int, step: int, n_frames: int, window: torch.Tensor, hop: int,
        offset: int = 0, length: int | None = None,
    ):  # fmt: skip
        self.first, self.step, self.window, self.offset = first, step, window, offset
        self.count = len(range(first, n_frames, step))
        self.length = length or padded_length(n_frames, len(window), hop)
        self.start, self.hop = offset + first * hop, step * hop  # samples
        self.rows = self.count - 1 + math.ceil(len(window) / self.hop)
        overlap = window.new_zeros(1, self.length)
        self.add(overlap, window.expand(1, self.count, -1), 0)
        # where all windows are almost 0, a division would only raise noise: at the very ends, and
        # between frames that hardly overlap
        known = overlap > (1e-8 if step == 1 and 2 * hop <= len(window) else 1e-3)
        self.inverse = torch.where(known, 1 / overlap, 0.0)
        inside = known[0].nonzero()
        # samples that none of its frames reaches
        self.ends = slice(0, int(inside[0])), slice(int(inside[-1]) + 1, None)

    def blocks(self, size: int) -> Iterator[tuple[int, slice]]:
        """Up to ``size`` frames at a time: index of the first, and their slice of all frames."""
        for i in range(0, self.count, size):
            stop = self.first + min(i + size, self.count) * self.step
            yield i, slice(self.first + i * self.step, stop, self.step)

    def cut(self, signal: torch.Tensor, frames: slice) -> torch.Tensor:
        """Windowed frames ``[B, t, n_fft]`` of ``signal [B, L]``, by their places among all."""
        start = self.offset + frames.start * self.hop // self.step
        count = len(range(frames.start, frames.stop, self.step))
        stop = start + (count - 1) * self.hop + len(self.window)
        return signal[:, start:stop].unfold(-1, len(self.window), self.hop) * self.window

    def add(self, signal: torch.Tensor, frames: torch.Tensor, first: int) -> None:
        """Window ``frames [B, t, n_fft]`` and add them to ``signal [B, L]``.

        ``first`` is the index of the first of them in the subset. A frame covers 6.4 hops, so seven
        shifted additions of one hop's width do it.
        """
        rows = signal[:, self.start : self.start + self.rows * self.hop]
        rows = rows.unflatten(-1, (self.rows, self.hop))
        for k in range(math.ceil(len(self.window) / self.hop)):
            part = slice(k * self.hop, (k + 1) * self.hop)
            piece = frames[..., part]  # the last is shorter: 64 of 160
            place = rows[:, first + k : first + k + frames.shape[1], : piece.shape[-1]]
            place.addcmul_(piece, self.window[part])


def padded_length(n_frames: int, n_fft: int, hop: int) -> int:
    """Samples of a signal with room for the frames, in whole hops."""
    return (n_frames + math.ceil(n_fft / hop)) * hop


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
    """Refuse ``n_samples`` that do not have ``n_frames``."""
    expected = config.n_frames(n_samples, framing)
    if n_samples < 1 or n_frames != expected:
        longest = (n_frames - (framing == "inference")) * config.hop_length
        raise ValueError(
            f"n_samples: got {n_samples}, which has {expected} frames ({framing!r} framing), "
            f"expected the length of {n_frames} frames: "
            f"{max(1, longest - config.hop_length + 1)} to {longest}"
        )
