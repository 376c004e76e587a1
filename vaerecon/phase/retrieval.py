"""Samples with a given magnitude or mel, without learned weights: the Griffin-Lim family.

A log-mel has lost two things: which of the 513 STFT bins a mel bin's energy came from, and every
phase. :mod:`vaerecon.phase.mel_inversion` spreads the energy over the bins again,
:func:`griffin_lim` and :func:`admm` look for a phase with which those magnitudes are the STFT of
some sound. Given ``log_mel`` too, both correct the magnitude at every step instead of keeping the
first guess: the sound at hand says more about the 513 magnitudes than a smooth guess does.

All work on the padded signal, whose edges are free. On a CPU each clip of a batch stays on one
core, so its result is that of the clip alone. Conventions as in :mod:`vaerecon.mel.front_end`, at
peak 0.5. What each choice is worth is printed by ``python -m benchmarks.phase``.

Notebook: ``04_method_comparison``.

References
----------
.. [1] D. Griffin and J. Lim, "Signal estimation from modified short-time Fourier transform",
   IEEE Trans. ASSP 1984.
.. [2] N. Perraudin, P. Balazs and P. Søndergaard, "A fast Griffin-Lim algorithm", WASPAA 2013.
.. [3] Y. Masuyama, K. Yatabe and Y. Oikawa, "Griffin-Lim like phase recovery via alternating
   direction method of multipliers", IEEE Signal Processing Letters 2019.
.. [4] Y. Masuyama et al., "Joint mel spectrogram inversion", arXiv:2501.05557, 2025: magnitude and
   phase found together, by another algorithm than the one here.
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

COMBS = 2  # an iteration of griffin_lim takes every second frame, then the others
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
    """Samples with given STFT magnitudes, by fast Griffin-Lim [2]_.

    Alternates between the spectra that some sound has and those with the known magnitude, and
    steps ahead by ``momentum`` times the last change. The STFT is linear, so the step ahead is
    taken on samples, where it costs a sixth.

    An iteration makes a sound of every second frame, then of the frames between, starting from what
    the first half has found: for the same arithmetic that gets further than all frames at once.
    Where a half would not overlap by half a window, all frames are taken at once.

    ``[T, 513]`` or ``[B, T, 513]`` to ``[N]`` or ``[B, N]``, float32, on the same device; a
    ValueError if shapes or ``n_samples`` do not fit each other.

    Parameters
    ----------
    log_mel
        ``[T, 64]`` or ``[B, T, 64]``, nepers: hold the sound to this mel instead of to
        ``magnitude``, which becomes the first guess.
    also
        Further mels of the same sound, each with its settings, ``[(log_mel, config), ...]``, to
        which the sound is held in turn. Begin with the shortest window.
    n_iter
        Iterations. 0 gives the start.
    momentum
        0 is plain Griffin-Lim [1]_; above 1 it may not converge.
    init
        Start from the phase of these samples (``[N]`` or ``[B, N]``) or of this complex spectrum
        (shape of ``magnitude``). Default: sinusoids under the peaks of ``magnitude``.
    generator
        For the default start; default: seed 0.
    """

    def solve(onto: Projection, start: Spectra, *others: Projection) -> torch.Tensor:
        signal = onto.synthesize(lambda f: onto.impose(start(f), f), onto.every_nth_frame())
        steps = [(each, subset) for each in (onto, *others) for subset in _combs(each)]
        # one mel: momentum before each comb; several: before each round, forwards or backwards
        rounds = [steps, steps[::-1]] if others else [[step] for step in steps] * 2
        previous = signal
        for i in range(n_iter * len(rounds) // 2):
            ahead = torch.lerp(previous, signal, 1 + momentum)
            previous = signal
            for each, subset in rounds[i % len(rounds)]:
                ahead = each.project(ahead, subset)
            signal = ahead
        # the mel whose turn was last is held best: the mean of both directions favours none
        return torch.lerp(previous, signal, 0.5) if others else signal

    return solve_clips(solve, magnitude, n_samples, log_mel, init, generator, config, framing, also)


def _combs(onto: Projection) -> list[EveryNthFrame]:
    """The subsets of frames that an iteration takes one after the other."""
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
    """Samples with given STFT magnitudes, by ADMM [3]_; interface of :func:`griffin_lim`.

    The magnitude holds exactly, consistency in the least-squares sense weighted by ``1 / rho``
    (0: exactly too), and their disagreement is carried to the next iteration.
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
    """Bring a waveform, such as a vocoder's, nearer to its mel by some Griffin-Lim steps.

    Starts from its phase and from its own magnitude, corrected to the mel. It pays where the phase
    is better than chance. ``samples`` ``[N]`` or ``[B, N]``, aligned with the mel ``[T, 64]`` or
    ``[B, T, 64]`` and at its level, to float32 of the same shape and device; a ValueError if the
    two do not have the same frames.
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
