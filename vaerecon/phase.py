"""Log-mel to samples without learned weights: mel inversion and the Griffin-Lim family.

A log-mel has lost two things: which of the 513 STFT bins a mel bin's energy came from, and every
phase. :func:`mel_to_magnitude` spreads the energy over the bins again (expectation maximisation),
:func:`griffin_lim` and :func:`admm` look for a phase with which those magnitudes are the STFT of
some sound. Given ``log_mel`` too, both correct the magnitude at every step instead of keeping the
first guess: the mel is what is known, the 513 magnitudes are not, and the sound at hand says more
about them than a smooth guess does. Mel to audio on 12 clips of 6 s, 32 iterations: PESQ 2.2
without and 2.4 with, STOI .86 and .90, log-mel error 0.09 and 0.05 nepers; half as many iterations
with are as quick as 32 without, and better.

All work on the padded signal, whose edges (``config.padding`` samples on each side) are free; only
the result is cut to N samples. Everything is batched torch on any device, in float32. The level is
that of :func:`vaerecon.mel.normalize_level` (peak 0.5), in and out.

Conventions as in :mod:`vaerecon.mel`: ``[N]`` or ``[B, N]``, ``[T, 64]`` or ``[B, T, 64]``; STFT
magnitudes and spectra are ``[T, 513]`` or ``[B, T, 513]``. :func:`mel_to_magnitude` and
:func:`vaerecon.istft.istft_frames` let gradients through.

Notebook: ``04_method_comparison``.

References
----------
.. [1] D. Griffin and J. Lim, "Signal estimation from modified short-time Fourier transform",
   IEEE Trans. ASSP 1984.
.. [2] N. Perraudin, P. Balazs and P. Søndergaard, "A fast Griffin-Lim algorithm", WASPAA 2013.
.. [3] Y. Masuyama, K. Yatabe and Y. Oikawa, "Griffin-Lim like phase recovery via alternating
   direction method of multipliers", IEEE Signal Processing Letters 2019.
.. [4] W. Richardson, "Bayesian-based iterative method of image restoration", JOSA 1972; L. Lucy,
   "An iterative technique for the rectification of observed distributions", Astron. J. 1974.
.. [5] G. Beauregard, M. Harish and L. Wyse, "Single pass spectrogram inversion", DSP 2015.
.. [6] Y. Masuyama et al., "Joint mel spectrogram inversion", arXiv:2501.05557, 2025: magnitude and
   phase found together, by another algorithm than the one here.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from vaerecon.istft import add_frames, check_frames, check_n_samples, empty_signal, inverse_overlap
from vaerecon.mel import (
    AUDIOLDM_MEL,
    ArrayLike,
    Framing,
    MelConfig,
    as_samples,
    check_log_mel,
    hann_window,
    mel_filters,
    stft_frames,
)

SILENT = 1e-4  # nepers above the floor that still count as the floor: float32 rounding of log(1e-5)
TINY = 1e-15  # keeps 0 / 0 at 0; far below any magnitude that float32 samples give
BLOCK = 256  # frames at a time on a CPU: 1 MB of windows
TRUST = 0.9  # of the magnitude at hand against the first guess, in a step that corrects it


# ------------------------------------------------------------------ mel to magnitude


def mel_to_magnitude(
    log_mel: ArrayLike,
    config: MelConfig = AUDIOLDM_MEL,
    n_iter: int = 10,
    start: torch.Tensor | None = None,
) -> torch.Tensor:
    """STFT magnitudes whose mel is ``log_mel``, by expectation maximisation [4]_.

    Each step multiplies every bin by how far its mel bins are off,
    ``A <- A * W'(m / (W A)) / W'1`` from ``A = W'm / W'1``; magnitudes never become negative.

    Parameters
    ----------
    log_mel
        ``[T, 64]`` or ``[B, T, 64]``, nepers. A bin at the floor is silence: magnitude 0.
    n_iter
        Steps; ten leave 0.005 nepers of difference on music and speech.
    start
        ``[T, n_fft/2 + 1]`` or ``[B, T, ...]``: magnitudes to start from, which give the result its
        detail. A tenth of the default start goes in, so that no bin is stuck at zero.

    Returns
    -------
    torch.Tensor
        ``[T, n_fft/2 + 1]`` or ``[B, T, ...]``. Bins that no filter sees (0 Hz, 8 kHz) are 0.

    Raises
    ------
    ValueError
        For another layout.
    """
    mel = _linear_mel(log_mel, config)
    spread = _spread(config, mel.device)
    magnitude = mel @ spread
    if start is not None:
        if start.shape != magnitude.shape:
            raise ValueError(
                f"start: got shape {list(start.shape)}, expected {list(magnitude.shape)}"
            )
        magnitude = torch.lerp(magnitude, start, TRUST)
    for _ in range(n_iter):
        magnitude = magnitude * _mel_correction(magnitude, mel, spread, config)
    return magnitude


def _linear_mel(log_mel: ArrayLike, config: MelConfig) -> torch.Tensor:
    """Nepers to magnitudes; the floor to 0."""
    x = check_log_mel(log_mel, config)
    return torch.where(x <= config.log_floor + SILENT, 0.0, x.exp())


def _spread(config: MelConfig, device: torch.device) -> torch.Tensor:
    """``W' / W'1``, ``[n_mels, n_fft/2 + 1]``: each bin the weighted mean of its mel bins."""
    filters = mel_filters(config, str(device))
    # [n_fft/2 + 1, n_mels] -> [n_mels, n_fft/2 + 1], back from mel to frequency
    return (filters / filters.sum(dim=1, keepdim=True).clamp_min(TINY)).T.contiguous()


def _mel_correction(
    magnitude: torch.Tensor, mel: torch.Tensor, spread: torch.Tensor, config: MelConfig
) -> torch.Tensor:
    """The factor of an EM step, ``[B, T, n_fft/2 + 1]``."""
    estimate = magnitude @ mel_filters(config, str(magnitude.device))
    return (mel / estimate.clamp_min(TINY)) @ spread


# ------------------------------------------------------------------ phase retrieval


class _Projection:
    """What the whole family does to one batch: onto the known magnitudes, then onto a sound.

    Works through the frames in blocks. Arrays of a whole clip would leave the processor's cache,
    and asking the system for their memory at every step can take longer than the arithmetic.
    """

    def __init__(
        self,
        magnitude: torch.Tensor,
        log_mel: ArrayLike | None,
        n_samples: int,
        config: MelConfig,
        framing: Framing,
    ):
        magnitude = torch.as_tensor(magnitude)
        check_frames(magnitude, n_samples, config, framing)
        if magnitude.is_complex():
            raise ValueError(
                "magnitude: got complex values, expected real ones; "
                "use spectrum.abs(), and init=spectrum to start from its phase"
            )
        self.config, self.framing, self.n_samples = config, framing, n_samples
        self.single = magnitude.ndim == 2
        self.magnitude = magnitude.to(torch.float32).reshape(-1, *magnitude.shape[-2:])
        self.n_items, self.n_frames = self.magnitude.shape[:2]
        self.device = self.magnitude.device
        self.window = hann_window(config, str(self.device))
        self.inverse_overlap = inverse_overlap(self.n_frames, self.window, config)
        size = max(1, BLOCK // self.n_items) if self.device.type == "cpu" else self.n_frames
        self.blocks = [slice(i, i + size) for i in range(0, self.n_frames, size)]
        self.mel = None
        if log_mel is not None:
            mel = _linear_mel(log_mel, config).to(self.device)
            if mel.shape[:-1] != magnitude.shape[:-1]:
                raise ValueError(
                    f"log-mel: got shape {list(mel.shape)}, expected the frames of the "
                    f"magnitude, {[*magnitude.shape[:-1], config.n_mels]}"
                )
            self.mel = mel.reshape(-1, *mel.shape[-2:])
            self.spread = _spread(config, self.device)

    def start(self, init: ArrayLike | None, generator: torch.Generator | None) -> torch.Tensor:
        """The spectrum to start from, ``[B, T, n_fft/2 + 1]``: that of ``init``, or sinusoids."""
        if init is None:
            return _sinusoids(self.magnitude, generator, self.config)
        spectrum = torch.as_tensor(init)
        if not spectrum.is_complex():
            samples = as_samples(init).to(self.device)
            if samples.shape[-1] != self.n_samples:
                raise ValueError(
                    f"init: got {samples.shape[-1]} samples, expected {self.n_samples}"
                )
            spectrum = stft_frames(samples, self.config, self.framing)
        expected = self.magnitude.shape[1:] if self.single else self.magnitude.shape
        if spectrum.shape != expected:
            raise ValueError(
                f"init: got a spectrum of shape {list(spectrum.shape)}, expected {list(expected)}"
            )
        spectrum = spectrum.to(self.device, torch.complex64).reshape(self.magnitude.shape)
        # zero has no phase and would stay zero: take it as 0 radians
        return torch.where(spectrum == 0, TINY**0.5, spectrum)

    def impose(self, spectrum: torch.Tensor, block: slice) -> torch.Tensor:
        """Give ``spectrum`` (changed in place) the magnitude that is known of these frames."""
        scale = spectrum.real.square().add_(spectrum.imag.square())
        if self.mel is None:
            # keeps the phase without knowing it: a reciprocal root instead of an angle
            scale = scale.add_(TINY**2).rsqrt_().mul_(self.magnitude[:, block])
        else:
            own = scale.sqrt_()
            # with a tenth of the guess in it, which has the mel, no factor is above ten
            wanted = torch.lerp(self.magnitude[:, block], own, TRUST)
            wanted *= _mel_correction(wanted, self.mel[:, block], self.spread, self.config)
            scale = wanted.div_(own.add_(TINY))
        return spectrum.mul_(scale)

    def synthesize(self, spectra: Callable[[slice], torch.Tensor]) -> torch.Tensor:
        """The padded signal nearest to the spectrum that ``spectra`` gives block by block."""
        signal = empty_signal(self.n_items, self.n_frames, self.window, self.config)
        for block in self.blocks:
            frames = torch.fft.irfft(spectra(block), n=self.config.n_fft)
            add_frames(signal, frames, self.window, block.start)
        return signal.mul_(self.inverse_overlap).flatten(1)

    def analyze(self, signal: torch.Tensor, block: slice) -> torch.Tensor:
        """The spectrum of some frames of the padded signal."""
        frames = signal.unfold(-1, self.config.n_fft, self.config.hop_length)  # a view
        return torch.fft.rfft(frames[:, block] * self.window)

    def cut(self, signal: torch.Tensor) -> torch.Tensor:
        """The clip in the middle of the padded signal: ``[N]`` or ``[B, N]``."""
        start = self.config.padding(self.framing)
        samples = signal[:, start : start + self.n_samples].contiguous()
        return samples[0] if self.single else samples


def default_generator(generator: torch.Generator | None) -> torch.Generator:
    """``generator``, or one on the CPU with seed 0: the same start each time, on any device."""
    return torch.Generator().manual_seed(0) if generator is None else generator


def _sinusoids(
    magnitude: torch.Tensor, generator: torch.Generator | None, config: MelConfig
) -> torch.Tensor:
    """A spectrum of steady sinusoids under the peaks of ``magnitude`` [5]_.

    From frame to frame the phase of a bin advances by the frequency of the peak it belongs to: that
    of the parabola through it and its neighbours, or where that is far or none, 1.5 bins uphill.
    Where it begins is drawn from ``generator``, the same for every item of a batch.
    """
    below, above = magnitude.roll(1, dims=-1), magnitude.roll(-1, dims=-1)
    curvature = (below - 2 * magnitude + above).clamp_max_(-TINY)
    uphill = (below - above).mul_(0.5).div_(curvature).clamp_(-1.5, 1.5)
    bins = torch.arange(magnitude.shape[-1], device=magnitude.device)
    cycles = (bins + uphill).mul_(config.hop_length / config.n_fft)
    generator = default_generator(generator)
    first = torch.rand(len(bins), generator=generator, device=generator.device)
    # frames start half a window before their centre, so neighbours have opposite signs
    first = first.to(magnitude.device) + bins % 2 / 2
    # only the fraction of a cycle counts, and keeps the sum small
    phase = cycles.sub_(cycles.round()).cumsum_(dim=1).add_(first).mul_(2 * math.pi)
    return torch.complex(magnitude * phase.cos(), magnitude * phase.sin())  # quicker than polar


@torch.inference_mode()
def griffin_lim(
    magnitude: torch.Tensor,
    n_samples: int,
    *,
    log_mel: ArrayLike | None = None,
    n_iter: int = 32,
    momentum: float = 0.99,
    init: ArrayLike | None = None,
    generator: torch.Generator | None = None,
    config: MelConfig = AUDIOLDM_MEL,
    framing: Framing = "train",
) -> torch.Tensor:
    """Samples with given STFT magnitudes, by fast Griffin-Lim [2]_.

    Alternates between the spectra that some sound has and those with the known magnitude, and
    steps ahead by ``momentum`` times the last change. The STFT is linear, so the step ahead is
    taken on samples, where it costs a sixth.

    Parameters
    ----------
    magnitude
        ``[T, 513]`` or ``[B, T, 513]``, as from :func:`mel_to_magnitude`.
    n_samples
        Samples wanted, N; must be a length that has ``T`` frames.
    log_mel
        ``[T, 64]`` or ``[B, T, 64]``, nepers: hold the sound to this mel instead of to
        ``magnitude``, which becomes the first guess. At each step the magnitude at hand, with a
        tenth of the guess, takes one step of :func:`mel_to_magnitude`'s towards the mel.
    n_iter
        Iterations. 0 gives the start.
    momentum
        0 is plain Griffin-Lim [1]_; above 1 it may not converge.
    init
        Start from the phase of these samples (``[N]`` or ``[B, N]``) or of this complex spectrum
        (shape of ``magnitude``). Default: sinusoids under the peaks of ``magnitude``. Against
        random phase, PESQ on 12 clips is 2.14 instead of 2.07 after 8 iterations and 2.21 instead
        of 2.18 after 32; with original magnitudes 3.73 instead of 3.55. (Seeds differ by 0.03.)
    generator
        Where the default start begins; default: seed 0, so the same result each time.

    Returns
    -------
    torch.Tensor
        ``[N]`` or ``[B, N]``, float32, on the device of ``magnitude``.

    Raises
    ------
    ValueError
        If shapes or ``n_samples`` do not fit each other.
    """
    onto = _Projection(magnitude, log_mel, n_samples, config, framing)
    spectrum = onto.start(init, generator)
    signal = previous = onto.synthesize(lambda block: onto.impose(spectrum[:, block], block))

    def step(block: slice) -> torch.Tensor:
        return onto.impose(onto.analyze(ahead, block), block)

    for _ in range(n_iter):
        ahead = torch.lerp(previous, signal, 1 + momentum)
        previous, signal = signal, onto.synthesize(step)
    return onto.cut(signal)


@torch.inference_mode()
def admm(
    magnitude: torch.Tensor,
    n_samples: int,
    *,
    log_mel: ArrayLike | None = None,
    n_iter: int = 32,
    rho: float = 0.1,
    init: ArrayLike | None = None,
    generator: torch.Generator | None = None,
    config: MelConfig = AUDIOLDM_MEL,
    framing: Framing = "train",
) -> torch.Tensor:
    """Samples with given STFT magnitudes, by ADMM [3]_; interface of :func:`griffin_lim`.

    The magnitude holds exactly, consistency in the least-squares sense weighted by ``1 / rho``
    (0: exactly too), and what the two could not agree on is carried to the next iteration.
    Dearer than :func:`griffin_lim` by a third to a half. On 12 clips it sounds no better or worse
    (PESQ 2.3 and 2.4, without and with ``log_mel``); its mel error is 0.01 nepers higher without,
    0.005 lower with.
    """
    onto = _Projection(magnitude, log_mel, n_samples, config, framing)
    total = onto.start(init, generator)  # x + u in [3]: what is known, and the disagreement so far
    signal = onto.synthesize(lambda block: onto.impose(total[:, block], block))

    def agreed(block: slice) -> torch.Tensor:  # z: between a sound's spectrum and the total
        return onto.analyze(signal, block).add_(total[:, block], alpha=rho).div_(1 + rho)

    def step(block: slice) -> torch.Tensor:
        z, y = agreed(block), total[:, block]
        known = onto.impose((2 * z).sub_(y), block)  # x, from z - u, where u = y - z
        return y.sub_(z).add_(known)  # in place: the next total

    for _ in range(n_iter):
        signal = onto.synthesize(step)
    return onto.cut(onto.synthesize(lambda block: onto.impose(agreed(block), block)))


@torch.inference_mode()
def refine(
    samples: ArrayLike,
    log_mel: ArrayLike,
    *,
    n_iter: int = 16,
    config: MelConfig = AUDIOLDM_MEL,
    framing: Framing = "train",
) -> torch.Tensor:
    """Bring a waveform, such as a vocoder's, nearer to its mel by some Griffin-Lim steps.

    Starts from its phase and from its own magnitude, corrected to the mel. That beat the smooth
    magnitude of the mel alone, and a magnitude that stays as it was at first, for a vocoder after
    1,000 steps of training and for sounds with 1.4 and 2.2 radians of phase noise. It pays where
    the phase is better than chance: from that young vocoder :func:`griffin_lim` from scratch is as
    good.

    Parameters
    ----------
    samples
        ``[N]`` or ``[B, N]``, aligned with the mel and at its level.
    log_mel
        ``[T, 64]`` or ``[B, T, 64]``, nepers.
    n_iter
        Iterations; a good phase needs 8, a poor one gains up to 32.

    Returns
    -------
    torch.Tensor
        ``[N]`` or ``[B, N]``, float32, on the device of ``samples``.

    Raises
    ------
    ValueError
        If shapes do not fit each other.
    """
    waveform = as_samples(samples)
    mel = check_log_mel(log_mel, config).to(waveform.device)
    check_n_samples(mel.shape[-2], waveform.shape[-1], config, framing)
    own = stft_frames(waveform, config, framing).abs()
    return griffin_lim(
        mel_to_magnitude(mel, config, start=own),
        waveform.shape[-1],
        log_mel=mel,
        n_iter=n_iter,
        init=waveform,
        config=config,
        framing=framing,
    )
