"""Stages of a stream: each takes new input and returns the part of its output that is final.

``push(new, last)`` takes the next values along time (axis -2) and returns the next values of the
result, or None if no more are final. ``last`` marks the end of the input: then all values are
final. The block boundaries affect the result only by how much of the future a stage knows.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

import torch
import torch.nn.functional as F

from vaerecon.mel.config import AUDIOLDM_MEL
from vaerecon.mel.front_end import hann_window, log_mel_section, magnitude_to_log_mel, magnitudes
from vaerecon.mel.stft import EveryNthFrame
from vaerecon.phase.mel_inversion import linear_mel
from vaerecon.phase.projections import Projection
from vaerecon.phase.solving import sinusoids

HOP, N_FFT = AUDIOLDM_MEL.hop_length, AUDIOLDM_MEL.n_fft
PADDING = AUDIOLDM_MEL.padding("train")  # samples of frame 0 before the start of the sound
FIRST = N_FFT - PADDING  # samples from the start of the sound to the end of frame 0
REACH = math.ceil(N_FFT / HOP)  # number of frames that contain a sample


class Stage(Protocol):
    """Interface of all stages."""

    def push(self, new: torch.Tensor, last: bool) -> torch.Tensor | None:
        """Take the next input values; return the next final output values."""


class MelStage:
    """Stage from samples ``[N, 1]`` to log-mel ``[T, 64]``, with the frames of the whole sound."""

    def __init__(self) -> None:
        self.kept, self.start, self.frames = torch.zeros(0), 0, 0

    def push(self, new: torch.Tensor, last: bool) -> torch.Tensor | None:
        self.kept = torch.cat([self.kept, new[:, 0]])
        known = self.start + len(self.kept)
        first, self.frames = self.frames, max(self.frames, (known - FIRST) // HOP + 1)
        if last:
            self.frames = AUDIOLDM_MEL.n_frames(known)
            read = lambda a, b: self.kept[a - self.start : b - self.start]  # noqa: E731
            return log_mel_section(read, known, first, self.frames)
        if self.frames == first:
            return None
        begin, end = first * HOP - PADDING, (self.frames - 1) * HOP + FIRST
        x = self.kept[max(0, begin) - self.start : end - self.start]
        x = F.pad(x[None], (max(0, -begin), 0), mode="reflect")[0]
        spectra = torch.fft.rfft(x.unfold(0, N_FFT, HOP) * hann_window(device=str(x.device)))
        # keep samples for the last frames, which are computed with a reflection at the end
        drop = max(0, (self.frames - REACH) * HOP - PADDING) - self.start
        self.kept, self.start = self.kept[drop:], self.start + drop
        return magnitude_to_log_mel(magnitudes(spectra))


class WindowStage:
    """Stage that applies a function to a window with ``past`` and ``ahead`` values of context.

    Parameters
    ----------
    function
        ``[..., t, C]`` to ``[..., t * gives / takes, C']``.
    past, ahead
        Input values before and after the new ones; ``past`` is a multiple of ``takes``.
    """

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor], past: int, ahead: int,
                 takes: int = 1, gives: int = 1):  # fmt: skip
        self.function, self.past, self.ahead = function, past, ahead
        self.takes, self.gives = takes, gives
        self.kept: torch.Tensor | None = None
        self.start = self.done = 0

    def push(self, new: torch.Tensor, last: bool) -> torch.Tensor | None:
        self.kept = new if self.kept is None else torch.cat([self.kept, new], dim=-2)
        known = self.start + self.kept.shape[-2]
        stop = known if last else (known - self.ahead) // self.takes * self.takes
        if stop <= self.done:
            return None
        first, end = ((x - self.start) * self.gives // self.takes for x in (self.done, stop))
        piece = self.function(self.kept)[..., first : None if last else end, :]
        drop = max(0, stop - self.past - self.start)
        self.kept, self.start = self.kept[..., drop:, :], self.start + drop
        self.done = stop
        return piece


class PhaseStage:
    """Stage from log-mel ``[T, 64]`` to samples ``[N, 1]`` by online Griffin-Lim [1]_.

    Each block computes the phases of the frames in a window. Samples that have been returned do not
    change, and constrain the new ones; samples after the block are the start for the next one.

    Parameters
    ----------
    magnitude
        Function of a log-mel ``[t, 64]`` and ``first``: initial magnitudes from frame ``first`` on.
    context
        Frames before ``first`` that ``magnitude`` uses.

    References
    ----------
    .. [1] T. Peer, S. Welker, J. Kolhoff and T. Gerkmann, "A flexible online framework for
       projection-based STFT phase retrieval", arXiv:2309.07043, 2023.
    """

    def __init__(self, magnitude: Callable[[torch.Tensor, int], torch.Tensor], context: int,
                 ahead: int, n_iter: int, momentum: float = 0.8):  # fmt: skip
        self.magnitude, self.context, self.ahead = magnitude, context, ahead
        self.n_iter, self.momentum = n_iter, momentum
        self.mel: torch.Tensor | None = None
        self.mel_start = self.done = self.known = 0  # frames
        self.signal = torch.zeros(1, 0)  # from the first frame of the window on
        self.begun = torch.rand(N_FFT // 2 + 1, generator=torch.Generator().manual_seed(0))
        self.begun += torch.arange(len(self.begun)) % 2 / 2

    def push(self, new: torch.Tensor, last: bool) -> torch.Tensor | None:
        self.mel = new if self.mel is None else torch.cat([self.mel, new])
        known = self.mel_start + len(self.mel)
        stop = known if last else known - self.ahead
        if stop <= self.done and not last:
            return None
        first = max(0, min(self.done, self.known) - REACH)
        magnitude = self.magnitude(self.mel, first - self.mel_start)
        signal = self._solve(magnitude[None], self.mel[first - self.mel_start :][None], first)
        # the padding before frame 0 is not part of the sound, samples after the last frame are
        begin, end = max(PADDING, self.done * HOP), max(PADDING, stop * HOP)
        end += N_FFT - HOP if last else 0
        piece = signal[0, begin - first * HOP : end - first * HOP, None]
        keep = max(0, min(stop, known) - REACH)
        self.signal = signal[:, (keep - first) * HOP :]
        drop = max(0, keep - self.context - self.mel_start)
        self.mel, self.mel_start = self.mel[drop:], self.mel_start + drop
        self.done, self.known = stop, known
        return piece

    def _solve(self, magnitude: torch.Tensor, mel: torch.Tensor, first: int) -> torch.Tensor:
        """Compute the padded signal of the frames from ``first`` on."""
        n_frames, old, device = magnitude.shape[1], self.known - first, magnitude.device
        onto = Projection(magnitude, linear_mel(mel, AUDIOLDM_MEL), AUDIOLDM_MEL)
        spectra = magnitude.new_empty(1, 0, magnitude.shape[-1], dtype=torch.complex64)
        reached = self.begun.to(device)
        if old > 0:  # frames that have a phase start from it
            frames = slice(0, old)
            spectra = onto.impose(onto.analyze(self.signal, frames, _every(old, device)), frames)
            reached = spectra[:, -1:].angle() / (2 * math.pi)
        if old < n_frames:
            start = sinusoids(magnitude[:, old:], reached, AUDIOLDM_MEL)(slice(0, n_frames - old))
            spectra = torch.cat([spectra, onto.impose(start, slice(old, n_frames))], dim=1)
        signal = onto.synthesize(lambda f: spectra[:, f], _every(n_frames, device))
        committed = self.signal[:, : (self.done - first) * HOP]
        signal[:, : committed.shape[1]] = committed
        previous = signal
        halves = [_every(n_frames, device, i, 2) for i in range(min(2, n_frames))]
        for subset in halves * self.n_iter:
            ahead = torch.lerp(previous, signal, 1 + self.momentum)
            previous, signal = signal, onto.project(ahead, subset)
            signal[:, : committed.shape[1]] = committed
        return signal


@lru_cache(maxsize=64)
def _every(n_frames: int, device: torch.device, first: int = 0, step: int = 1) -> EveryNthFrame:
    return EveryNthFrame(first, step, n_frames, hann_window(device=str(device)), HOP)
