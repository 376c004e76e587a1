"""The two projections of the Griffin-Lim family: onto known magnitudes, and onto consistent STFTs.

A consistent STFT is the STFT of some signal. Because frames overlap, spectra with arbitrary phases
are not consistent. :mod:`vaerecon.phase.retrieval` alternates between spectra with the known
magnitude (:meth:`Projection.impose`) and consistent ones (:meth:`Projection.synthesize`, then
:meth:`Projection.analyze`).

Shapes: spectra ``[B, t, n_fft/2 + 1]``, padded signals ``[B, L]``. On a CPU B is 1.
"""

from collections.abc import Callable

import torch

from vaerecon.mel.config import MelConfig
from vaerecon.mel.front_end import hann_window, magnitudes
from vaerecon.mel.stft import EveryNthFrame, padded_length
from vaerecon.phase.mel_inversion import TINY, correction

BLOCK = 256  # frames at a time on a CPU: 1 MB of windows
TRUST = 0.97  # weight of the current magnitude against the initial one, in a correction step

Spectra = Callable[[slice], torch.Tensor]  # slice of frames -> their spectra, [B, t, n_fft/2 + 1]


class Projection:
    """Both projections for a clip whose frame 0 begins at sample ``offset`` of the signal.

    Frames are computed in blocks: arrays of a whole clip do not fit into the processor's cache, and
    allocating them at every step can take longer than the arithmetic.
    """

    def __init__(
        self, magnitude: torch.Tensor, mel: torch.Tensor | None, config: MelConfig,
        offset: int = 0, length: int | None = None,
    ):  # fmt: skip
        self.magnitude, self.mel, self.config, self.offset = magnitude, mel, config, offset
        n_frames = magnitude.shape[1]
        self.window = hann_window(config, str(magnitude.device))
        self.length = length or padded_length(n_frames, config.n_fft, config.hop_length)
        self.size = BLOCK if magnitude.device.type == "cpu" else n_frames

    def every_nth_frame(self, first: int = 0, step: int = 1) -> EveryNthFrame:
        """Return the subset of every ``step``-th frame of this clip, from ``first`` on."""
        n_frames, hop = self.magnitude.shape[1], self.config.hop_length
        return EveryNthFrame(first, step, n_frames, self.window, hop, self.offset, self.length)

    def impose(self, spectrum: torch.Tensor, frames: slice) -> torch.Tensor:
        """Give ``spectrum`` (changed in place) the known magnitude of these frames."""
        current, target = magnitudes(spectrum), self.magnitude[:, frames]
        if self.mel is not None:
            # adding a part of the initial magnitude, which has the mel, keeps the factors small
            target = torch.lerp(target, current, TRUST)
            target.mul_(correction(target, self.mel[:, frames], self.config))
        return spectrum.mul_(target / current.add_(TINY))  # a real factor keeps the phase

    def synthesize(self, spectra: Spectra, subset: EveryNthFrame) -> torch.Tensor:
        """Compute the padded signal ``[B, L]`` nearest to the spectra of a subset, block by block.

        Samples that no frame of the subset covers are 0.
        """
        signal = self.window.new_zeros(len(self.magnitude), self.length)
        for first, frames in subset.blocks(self.size):
            subset.add(signal, torch.fft.irfft(spectra(frames), n=self.config.n_fft), first)
        return signal.mul_(subset.inverse)

    def analyze(self, signal: torch.Tensor, frames: slice, subset: EveryNthFrame) -> torch.Tensor:
        """Compute the spectra of a slice of frames of the padded signal."""
        spectra: torch.Tensor = torch.fft.rfft(subset.cut(signal, frames))
        return spectra

    def project(self, signal: torch.Tensor, subset: EveryNthFrame) -> torch.Tensor:
        """Apply both projections with one subset; samples that it does not cover stay."""
        result = self.synthesize(lambda f: self.impose(self.analyze(signal, f, subset), f), subset)
        for end in subset.ends:
            result[:, end] = signal[:, end]
        return result
