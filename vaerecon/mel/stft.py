"""Inverse STFT: overlap-add of frames, and the least-squares inverse.

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
    """Invert :func:`vaerecon.mel.front_end.stft_frames` by least squares [1]_.

    The windowed frames are overlap-added and divided by the sum of the squared windows. Complex
    ``[T, n_fft/2 + 1]`` or ``[B, T, n_fft/2 + 1]`` to ``[N]`` or ``[B, N]``, float32;
    differentiable. Raises ValueError if ``n_samples`` samples do not have ``T`` frames.
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
    """Every ``step``-th frame from ``first`` on, extracted from a padded signal or overlap-added.

    Frame 0 begins at sample ``offset`` of the signal, which has ``length`` samples (default: as
    many as the frames need).
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
        # where all windows are almost 0 (at the ends, and between frames that hardly overlap) a
        # division would only amplify noise
        known = overlap > (1e-8 if step == 1 and 2 * hop <= len(window) else 1e-3)
        self.inverse = torch.where(known, 1 / overlap, 0.0)
        inside = known[0].nonzero()
        # samples at both ends that no frame of the subset covers
        self.ends = slice(0, int(inside[0])), slice(int(inside[-1]) + 1, None)

    def blocks(self, size: int) -> Iterator[tuple[int, slice]]:
        """Yield up to ``size`` frames at a time: index of the first, and slice of all frames."""
        for i in range(0, self.count, size):
            stop = self.first + min(i + size, self.count) * self.step
            yield i, slice(self.first + i * self.step, stop, self.step)

    def cut(self, signal: torch.Tensor, frames: slice) -> torch.Tensor:
        """Return windowed frames ``[B, t, n_fft]`` of ``signal [B, L]``; a slice of all frames."""
        start = self.offset + frames.start * self.hop // self.step
        count = len(range(frames.start, frames.stop, self.step))
        stop = start + (count - 1) * self.hop + len(self.window)
        return signal[:, start:stop].unfold(-1, len(self.window), self.hop) * self.window

    def add(self, signal: torch.Tensor, frames: torch.Tensor, first: int) -> None:
        """Window ``frames [B, t, n_fft]`` and add them to ``signal [B, L]``.

        ``first`` is the index of the first of them in the subset. A frame covers 6.4 hops, so it is
        added in seven shifted pieces of at most one hop.
        """
        rows = signal[:, self.start : self.start + self.rows * self.hop]
        rows = rows.unflatten(-1, (self.rows, self.hop))
        for k in range(math.ceil(len(self.window) / self.hop)):
            part = slice(k * self.hop, (k + 1) * self.hop)
            piece = frames[..., part]  # the last is shorter: 64 of 160
            place = rows[:, first + k : first + k + frames.shape[1], : piece.shape[-1]]
            place.addcmul_(piece, self.window[part])


def padded_length(n_frames: int, n_fft: int, hop: int) -> int:
    """Return the length of a signal that holds ``n_frames``, in samples, a multiple of the hop."""
    return (n_frames + math.ceil(n_fft / hop)) * hop


def check_frames(x: torch.Tensor, n_samples: int, config: MelConfig, framing: Framing) -> None:
    """Raise ``ValueError`` unless ``x`` is ``[(B,) T, n_fft/2 + 1]`` and T fits ``n_samples``."""
    bins = config.n_fft // 2 + 1
    if x.ndim not in (2, 3) or x.shape[-1] != bins:
        raise ValueError(
            f"spectrum: got shape {list(x.shape)}, expected [T, {bins}] or [B, T, {bins}] "
            "(time before frequency); mel_to_magnitude makes one from a log-mel"
        )
    check_n_samples(x.shape[-2], n_samples, config, framing)


def check_n_samples(n_frames: int, n_samples: int, config: MelConfig, framing: Framing) -> None:
    """Raise ``ValueError`` unless ``n_samples`` samples have ``n_frames`` frames."""
    expected = config.n_frames(n_samples, framing)
    if n_samples < 1 or n_frames != expected:
        longest = (n_frames - (framing == "inference")) * config.hop_length
        raise ValueError(
            f"n_samples: got {n_samples}, which has {expected} frames ({framing!r} framing), "
            f"expected the length of {n_frames} frames: "
            f"{max(1, longest - config.hop_length + 1)} to {longest}"
        )
