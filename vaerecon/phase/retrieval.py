"""Samples with a given magnitude or mel, without learned weights: the Griffin-Lim family.

A log-mel has lost two things: which of the 513 STFT bins a mel bin's energy came from, and every
phase. :mod:`vaerecon.phase.mel_inversion` spreads the energy over the bins again,
:func:`griffin_lim` and :func:`admm` look for a phase with which those magnitudes are the STFT of
some sound. Given ``log_mel`` too, both correct the magnitude at every step instead of keeping the
first guess: the mel is what is known, the 513 magnitudes are not, and the sound at hand says more
about them than a smooth guess does.

All work on the padded signal, whose edges (``config.padding`` samples on each side) are free; only
the result is cut to N samples. Everything is torch on any device, in float32. On a CPU each clip of
a batch stays on one core (:mod:`vaerecon.utils.threads`), so a batch gives the digits of its clips
alone; on a GPU the batch is one array. The level is that of
:func:`vaerecon.audio.samples.normalize_level` (peak
0.5), in and out.

Conventions as in :mod:`vaerecon.mel.front_end`: ``[N]`` or ``[B, N]``, ``[T, 64]`` or ``[B, T,
64]``; STFT magnitudes and spectra are ``[T, 513]`` or ``[B, T, 513]``. What each choice here is
worth, in quality and in time, is printed by ``python -m benchmarks.phase``.

Notebook: ``04_method_comparison``.

References
----------
.. [1] D. Griffin and J. Lim, "Signal estimation from modified short-time Fourier transform",
   IEEE Trans. ASSP 1984.
.. [2] N. Perraudin, P. Balazs and P. Søndergaard, "A fast Griffin-Lim algorithm", WASPAA 2013.
.. [3] Y. Masuyama, K. Yatabe and Y. Oikawa, "Griffin-Lim like phase recovery via alternating
   direction method of multipliers", IEEE Signal Processing Letters 2019.
.. [4] G. Beauregard, M. Harish and L. Wyse, "Single pass spectrogram inversion", DSP 2015.
.. [5] Y. Masuyama et al., "Joint mel spectrogram inversion", arXiv:2501.05557, 2025: magnitude and
   phase found together, by another algorithm than the one here.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from vaerecon.audio.samples import ArrayLike, as_samples
from vaerecon.mel.config import AUDIOLDM_MEL, Framing, MelConfig
from vaerecon.mel.front_end import check_log_mel, magnitudes, stft_frames
from vaerecon.mel.stft import check_frames, check_n_samples
from vaerecon.phase.mel_inversion import TINY, linear_mel, mel_to_magnitude
from vaerecon.phase.projections import EveryNthFrame, Projection, Spectra
from vaerecon.utils.autocast import without_autocast
from vaerecon.utils.threads import on_cores

__all__ = ["admm", "griffin_lim", "mel_to_magnitude", "refine"]

COMBS = 2  # an iteration of griffin_lim takes every second frame, then the others


def _prepare(
    magnitude: torch.Tensor,
    log_mel: ArrayLike | None,
    init: ArrayLike | None,
    n_samples: int,
    config: MelConfig,
    framing: Framing,
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    """Magnitude, linear mel and spectrum: checked, as batches, on the magnitude's device."""
    magnitude = torch.as_tensor(magnitude)
    check_frames(magnitude, n_samples, config, framing)
    if magnitude.is_complex():
        raise ValueError(
            "magnitude: got complex values, expected real ones; "
            "use spectrum.abs(), and init=spectrum to start from its phase"
        )
    device, batch = magnitude.device, (-1, *magnitude.shape[-2:])
    mel = spectrum = None
    if log_mel is not None:
        mel = linear_mel(log_mel, config).to(device)
        if mel.shape[:-1] != magnitude.shape[:-1]:
            raise ValueError(
                f"log-mel: got shape {list(mel.shape)}, expected the frames of the "
                f"magnitude, {[*magnitude.shape[:-1], config.n_mels]}"
            )
        mel = mel.reshape(-1, *mel.shape[-2:])
    if init is not None:
        spectrum = _spectrum(init, n_samples, device, config, framing)
        if spectrum.shape != magnitude.shape:
            raise ValueError(
                f"init: got a spectrum of shape {list(spectrum.shape)}, "
                f"expected {list(magnitude.shape)}"
            )
        spectrum = spectrum.reshape(batch)
    return magnitude.to(torch.float32).reshape(batch), mel, spectrum


def _spectrum(
    init: ArrayLike, n_samples: int, device: torch.device, config: MelConfig, framing: Framing
) -> torch.Tensor:
    """The spectrum of ``init``, which may be samples; without zeros."""
    spectrum = torch.as_tensor(init)
    if not spectrum.is_complex():
        samples = as_samples(init).to(device)
        if samples.shape[-1] != n_samples:
            raise ValueError(f"init: got {samples.shape[-1]} samples, expected {n_samples}")
        spectrum = stft_frames(samples, config, framing)
    spectrum = spectrum.to(device, torch.complex64)
    # zero has no phase and would stay zero: take it as 0 radians
    return torch.where(spectrum == 0, TINY**0.5, spectrum)


def _solve(
    solver: Callable[[Projection, Spectra], torch.Tensor],
    magnitude: torch.Tensor,
    n_samples: int,
    log_mel: ArrayLike | None,
    init: ArrayLike | None,
    generator: torch.Generator | None,
    config: MelConfig,
    framing: Framing,
) -> torch.Tensor:
    """Check the inputs, run ``solver`` on each clip and cut its padded signals to the samples.

    ``solver`` gets the projections and the spectra to start from, and gives ``[B, L]``.
    """
    batch, mel, spectrum = _prepare(magnitude, log_mel, init, n_samples, config, framing)
    generator = default_generator(generator)
    first = torch.rand(
        batch.shape[-1], generator=generator, device=generator.device, dtype=torch.float32
    ).to(batch.device)

    padding = config.padding(framing)

    @torch.no_grad()
    def solve(clips: slice) -> torch.Tensor:
        onto = Projection(batch[clips], None if mel is None else mel[clips], config)
        if spectrum is None:
            signal = solver(onto, _sinusoids(batch[clips], first, config))
        else:
            signal = solver(onto, lambda frames: spectrum[clips, frames].clone())
        return signal[:, padding : padding + n_samples].contiguous()

    if batch.device.type == "cpu":
        samples = on_cores(lambda i: solve(slice(i, i + 1))[0], len(batch))
    else:
        samples = solve(slice(None))
    return samples[0] if magnitude.ndim == 2 else samples


def default_generator(generator: torch.Generator | None) -> torch.Generator:
    """``generator``, or one on the CPU with seed 0: the same start each time, on any device."""
    return torch.Generator().manual_seed(0) if generator is None else generator


def _sinusoids(magnitude: torch.Tensor, first: torch.Tensor, config: MelConfig) -> Spectra:
    """Spectra of steady sinusoids under the peaks of ``magnitude`` [4]_; to be asked for in order.

    From frame to frame the phase of a bin advances by the frequency of the peak it belongs to: that
    of the parabola through it and its neighbours, or where that is far or none, 1.5 bins uphill.
    It begins at ``first`` (``[n_fft/2 + 1]``, cycles), the same for every item of a batch.
    """
    bins = torch.arange(magnitude.shape[-1], device=magnitude.device, dtype=torch.float32)
    # frames start half a window before their centre, so neighbours have opposite signs
    reached = first + bins % 2 / 2  # cycles, at the last frame so far

    def spectra(frames: slice) -> torch.Tensor:
        nonlocal reached
        now = magnitude[:, frames]
        below, above = now.roll(1, dims=-1), now.roll(-1, dims=-1)
        curvature = (below + above).sub_(now, alpha=2).clamp_max_(-TINY)
        uphill = below.sub_(above).mul_(0.5).div_(curvature).clamp_(-1.5, 1.5)
        cycles = uphill.add_(bins).mul_(config.hop_length / config.n_fft)
        # only the fraction of a cycle counts, and keeps the sum small
        cycles = cycles.sub_(cycles.round()).cumsum_(dim=1).add_(reached)
        reached = cycles[:, -1:].frac()
        phase = cycles.mul_(2 * math.pi)
        return torch.complex(now * phase.cos(), now * phase.sin())  # quicker than polar

    return spectra


@torch.no_grad()
@without_autocast
def griffin_lim(
    magnitude: torch.Tensor,
    n_samples: int,
    *,
    log_mel: ArrayLike | None = None,
    n_iter: int = 32,
    momentum: float = 0.95,
    init: ArrayLike | None = None,
    generator: torch.Generator | None = None,
    config: MelConfig = AUDIOLDM_MEL,
    framing: Framing = "train",
) -> torch.Tensor:
    """Samples with given STFT magnitudes, by fast Griffin-Lim [2]_.

    Alternates between the spectra that some sound has and those with the known magnitude, and
    steps ahead by ``momentum`` times the last change. The STFT is linear, so the step ahead is
    taken on samples, where it costs a sixth.

    An iteration takes every second frame and makes a sound of those alone, then does the same with
    the frames between. Frames overlap by 84 %, so either half knows the whole sound; the second
    starts from what the first has found, and for the same arithmetic gets further than all frames
    at once.

    Parameters
    ----------
    magnitude
        ``[T, 513]`` or ``[B, T, 513]``, as from :func:`mel_to_magnitude`.
    n_samples
        Samples wanted, N; must be a length that has ``T`` frames.
    log_mel
        ``[T, 64]`` or ``[B, T, 64]``, nepers: hold the sound to this mel instead of to
        ``magnitude``, which becomes the first guess. At each step the magnitude at hand, with
        a thirtieth of the guess, takes one step of :func:`mel_to_magnitude`'s towards the mel.
    n_iter
        Iterations. 0 gives the start.
    momentum
        0 is plain Griffin-Lim [1]_; above 1 it may not converge.
    init
        Start from the phase of these samples (``[N]`` or ``[B, N]``) or of this complex spectrum
        (shape of ``magnitude``). Default: sinusoids under the peaks of ``magnitude``, better than
        random phase.
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

    def solve(onto: Projection, start: Spectra) -> torch.Tensor:
        signal = onto.synthesize(lambda f: onto.impose(start(f), f), onto.every_nth_frame())
        n_frames = onto.magnitude.shape[1]
        combs = [onto.every_nth_frame(first, COMBS) for first in range(min(COMBS, n_frames))]
        previous = signal
        for subset in combs * n_iter:
            ahead = torch.lerp(previous, signal, 1 + momentum)
            previous, signal = signal, _step(onto, ahead, subset)
        return signal

    return _solve(solve, magnitude, n_samples, log_mel, init, generator, config, framing)


def _step(onto: Projection, signal: torch.Tensor, subset: EveryNthFrame) -> torch.Tensor:
    """Both projections with the frames of one subset; what those do not reach stays."""
    found = onto.synthesize(lambda f: onto.impose(onto.analyze(signal, f, subset), f), subset)
    for end in subset.ends:
        found[:, end] = signal[:, end]
    return found


@torch.no_grad()
@without_autocast
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
    (0: exactly too), and what the two could not agree on is carried to the next iteration. All
    frames take part in each. Dearer than :func:`griffin_lim`, and no better.
    """

    def solve(onto: Projection, start: Spectra) -> torch.Tensor:
        subset = onto.every_nth_frame()
        # x + u in [3]: what is known, and the disagreement so far
        total = torch.cat([start(frames) for _, frames in subset.blocks(onto.size)], dim=1)
        signal = onto.synthesize(lambda f: onto.impose(total[:, f], f), subset)

        def agreed(f: slice) -> torch.Tensor:  # z: between a sound's spectrum and the total
            return onto.analyze(signal, f, subset).add_(total[:, f], alpha=rho).div_(1 + rho)

        def step(f: slice) -> torch.Tensor:
            z, y = agreed(f), total[:, f]
            known = onto.impose((2 * z).sub_(y), f)  # x, from z - u, where u = y - z
            return y.sub_(z).add_(known)  # in place: the next total

        for _ in range(n_iter):
            signal = onto.synthesize(step, subset)
        return onto.synthesize(lambda f: onto.impose(agreed(f), f), subset)

    return _solve(solve, magnitude, n_samples, log_mel, init, generator, config, framing)


@torch.no_grad()
@without_autocast
def refine(
    samples: ArrayLike,
    log_mel: ArrayLike,
    *,
    n_iter: int = 16,
    config: MelConfig = AUDIOLDM_MEL,
    framing: Framing = "train",
) -> torch.Tensor:
    """Bring a waveform, such as a vocoder's, nearer to its mel by some Griffin-Lim steps.

    Starts from its phase and from its own magnitude, corrected to the mel. It pays where the phase
    is better than chance: otherwise :func:`griffin_lim` from scratch is as good.

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
    own = magnitudes(stft_frames(waveform, config, framing))
    return griffin_lim(
        mel_to_magnitude(mel, config, start=own),
        waveform.shape[-1],
        log_mel=mel,
        n_iter=n_iter,
        init=waveform,
        config=config,
        framing=framing,
    )
