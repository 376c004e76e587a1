"""Phase retrieval by the Griffin-Lim family: samples with a given magnitude or mel, no weights.

A log-mel lacks two things: the distribution of a mel bin's energy over the 513 STFT bins, and the
phase. :mod:`vaerecon.phase.mel_inversion` estimates the magnitudes of the bins, :func:`griffin_lim`
and :func:`admm` find a phase with which these are nearly the STFT of some sound. If ``log_mel`` is
given too, both correct the magnitude at every step instead of keeping the initial estimate: the
current sound is a better estimate of the 513 magnitudes than a smooth one.

All work on the padded signal, whose edges are unconstrained. On a CPU each clip of a batch is
computed on one core, so results do not depend on the batch. Conventions as in
:mod:`vaerecon.mel.front_end`, at peak 0.5. ``python -m benchmarks.phase`` measures each choice.

Notebook: ``04_method_comparison``.

References
----------
.. [1] D. Griffin and J. Lim, "Signal estimation from modified short-time Fourier transform",
   IEEE Trans. ASSP 1984.
.. [2] N. Perraudin, P. Balazs and P. Søndergaard, "A fast Griffin-Lim algorithm", WASPAA 2013.
.. [3] Y. Masuyama, K. Yatabe and Y. Oikawa, "Griffin-Lim like phase recovery via alternating
   direction method of multipliers", IEEE Signal Processing Letters 2019.
.. [4] Y. Masuyama et al., "Joint mel spectrogram inversion", arXiv:2501.05557, 2025: magnitude and
   phase estimated jointly, by another algorithm than the one here.
"""

from collections.abc import Sequence

import torch

from vaerecon.audio.samples import ArrayLike, as_samples
from vaerecon.mel.config import AUDIOLDM_MEL, Framing, MelConfig
from vaerecon.mel.front_end import check_log_mel, magnitudes, stft_frames
from vaerecon.mel.stft import EveryNthFrame, check_n_samples
from vaerecon.phase.mel_inversion import mel_to_magnitude
from vaerecon.phase.projections import Projection, Spectra
from vaerecon.phase.solving import solve_clips
from vaerecon.utils.autocast import without_autocast

__all__ = ["admm", "griffin_lim", "mel_to_magnitude", "refine"]

COMBS = 2  # interleaved subsets of frames, which an iteration of griffin_lim uses in turn
Also = Sequence[tuple[ArrayLike, MelConfig]]  # further mels of a sound, each with its settings


@torch.no_grad()
@without_autocast
def griffin_lim(
    magnitude: torch.Tensor,
    n_samples: int,
    *,
    log_mel: ArrayLike | None = None,
    also: Also = (),
    n_iter: int = 32,
    momentum: float = 0.95,
    init: ArrayLike | None = None,
    generator: torch.Generator | None = None,
    config: MelConfig = AUDIOLDM_MEL,
    framing: Framing = "train",
) -> torch.Tensor:
    """Compute samples with given STFT magnitudes, by fast Griffin-Lim [2]_.

    Alternates between consistent spectra and those with the known magnitude, and extrapolates by
    ``momentum`` times the last change. The STFT is linear, so the extrapolation is done on samples,
    where it costs a sixth.

    An iteration uses two interleaved subsets of the frames, one after the other: every second
    frame, then those between. For the same cost this converges faster than all frames at once.
    If the frames of a subset would overlap by less than half a window, all are used at once.

    ``[T, 513]`` or ``[B, T, 513]`` to ``[N]`` or ``[B, N]``, float32, on the same device.
    Raises ValueError if shapes or ``n_samples`` do not fit each other.

    Parameters
    ----------
    log_mel
        ``[T, 64]`` or ``[B, T, 64]``, nepers: constrain the sound to this mel instead of to
        ``magnitude``, which is then the initial estimate.
    also
        Further mels of the same sound, each with its settings, ``[(log_mel, config), ...]``, which
        constrain the sound in turn. Begin with the shortest window.
    n_iter
        Number of iterations. 0 returns the start.
    momentum
        0 is plain Griffin-Lim [1]_; above 1 it may not converge.
    init
        Start from the phase of these samples (``[N]`` or ``[B, N]``) or of this complex spectrum
        (shape of ``magnitude``). Default: sinusoids at the peaks of ``magnitude``.
    generator
        Source of randomness for the default start; default: seed 0.
    """

    def solve(onto: Projection, start: Spectra, *others: Projection) -> torch.Tensor:
        signal = onto.synthesize(lambda f: onto.impose(start(f), f), onto.every_nth_frame())
        steps = [(each, subset) for each in (onto, *others) for subset in _combs(each)]
        # one mel: momentum before each subset; several: before each round, forwards or backwards
        rounds = [steps, steps[::-1]] if others else [[step] for step in steps] * 2
        previous = signal
        for i in range(n_iter * len(rounds) // 2):
            ahead = torch.lerp(previous, signal, 1 + momentum)
            previous = signal
            for each, subset in rounds[i % len(rounds)]:
                ahead = each.project(ahead, subset)
            signal = ahead
        # the last mel of a round is matched best: the mean of both directions favours none
        return torch.lerp(previous, signal, 0.5) if others else signal

    return solve_clips(solve, magnitude, n_samples, log_mel, init, generator, config, framing, also)


def _combs(onto: Projection) -> list[EveryNthFrame]:
    """Return the interleaved subsets of frames that an iteration uses one after the other."""
    step = COMBS if 2 * COMBS * onto.config.hop_length < onto.config.n_fft else 1
    return [onto.every_nth_frame(i, step) for i in range(min(step, onto.magnitude.shape[1]))]


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
    """Compute samples with given STFT magnitudes, by ADMM [3]_; interface of :func:`griffin_lim`.

    The magnitude is enforced exactly, consistency in the least-squares sense weighted by
    ``1 / rho`` (0: exactly too); the dual variable carries their difference between iterations.
    """

    def solve(onto: Projection, start: Spectra) -> torch.Tensor:
        subset = onto.every_nth_frame()
        # x + u in [3]: spectra with the known magnitude, plus the dual variable
        total = torch.cat([start(frames) for _, frames in subset.blocks(onto.size)], dim=1)
        signal = onto.synthesize(lambda f: onto.impose(total[:, f], f), subset)

        def consistent(f: slice) -> torch.Tensor:  # z: between a sound's spectrum and the total
            return onto.analyze(signal, f, subset).add_(total[:, f], alpha=rho).div_(1 + rho)

        def step(f: slice) -> torch.Tensor:
            z, y = consistent(f), total[:, f]
            known = onto.impose((2 * z).sub_(y), f)  # x, from z - u, where u = y - z
            return y.sub_(z).add_(known)  # in place: the next total

        for _ in range(n_iter):
            signal = onto.synthesize(step, subset)
        return onto.synthesize(lambda f: onto.impose(consistent(f), f), subset)

    return solve_clips(solve, magnitude, n_samples, log_mel, init, generator, config, framing)


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
    """Fit a waveform, such as a vocoder's output, to a mel by some Griffin-Lim steps.

    Starts from the waveform's phase, and from its magnitude corrected to the mel. It helps if the
    phase is better than a random one. ``samples`` ``[N]`` or ``[B, N]``, aligned with the mel
    ``[T, 64]`` or ``[B, T, 64]`` and at its level, to float32 of the same shape and device.
    Raises ValueError if the two do not have the same number of frames.
    """
    waveform = as_samples(samples)
    mel = check_log_mel(log_mel, config).to(waveform.device)
    check_n_samples(mel.shape[-2], waveform.shape[-1], config, framing)
    own = magnitudes(stft_frames(waveform, config, framing))
    guess = mel_to_magnitude(mel, config, start=own)
    return griffin_lim(
        guess, waveform.shape[-1], log_mel=mel, n_iter=n_iter, init=waveform, config=config,
        framing=framing,
    )  # fmt: skip
