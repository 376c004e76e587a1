"""Common parts of the phase retrieval solvers: input checks, initial phase, loop over clips.

References
----------
.. [1] G. Beauregard, M. Harish and L. Wyse, "Single pass spectrogram inversion", DSP 2015.
"""

import math
from collections.abc import Callable, Sequence

import torch

from vaerecon.audio.samples import ArrayLike, as_samples
from vaerecon.mel.config import Framing, MelConfig
from vaerecon.mel.front_end import stft_frames
from vaerecon.mel.stft import check_frames
from vaerecon.phase.mel_inversion import TINY, check_frames_of, linear_mel, mel_to_magnitude
from vaerecon.phase.projections import Projection, Spectra
from vaerecon.utils.threads import on_cores


def _prepare(
    magnitude: torch.Tensor, log_mel: ArrayLike | None, init: ArrayLike | None, n_samples: int,
    config: MelConfig, framing: Framing,
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:  # fmt: skip
    """Return magnitude, linear mel and spectrum, checked, as batches on the magnitude's device."""
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
        check_frames_of(mel, magnitude)
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
    """Return the spectrum of ``init`` (a spectrum or samples), with its zeros replaced."""
    spectrum = torch.as_tensor(init)
    if not spectrum.is_complex():
        samples = as_samples(init).to(device)
        if samples.shape[-1] != n_samples:
            raise ValueError(f"init: got {samples.shape[-1]} samples, expected {n_samples}")
        spectrum = stft_frames(samples, config, framing)
    spectrum = spectrum.to(device, torch.complex64)
    # zeros have no phase and would stay zero: give them the phase 0
    return torch.where(spectrum == 0, TINY**0.5, spectrum)


def solve_clips(
    solver: Callable[..., torch.Tensor], magnitude: torch.Tensor, n_samples: int,
    log_mel: ArrayLike | None, init: ArrayLike | None, generator: torch.Generator | None,
    config: MelConfig, framing: Framing, also: Sequence[tuple[ArrayLike, MelConfig]] = (),
) -> torch.Tensor:  # fmt: skip
    """Check the inputs, run ``solver`` on each clip and remove the padding of its signals.

    ``solver`` gets the projections, the spectra to start from, and the projections of each mel in
    ``also``; it returns ``[B, L]``, with the longest of their paddings at the start.
    """
    batch, mel, spectrum = _prepare(magnitude, log_mel, init, n_samples, config, framing)
    parts = [(batch, mel, config)]
    for other, settings in also:
        guess = mel_to_magnitude(other, settings, n_iter=5).to(batch.device)
        check_frames(guess, n_samples, settings, framing)
        guess, linear = (x.reshape(-1, *x.shape[-2:]) for x in (guess, linear_mel(other, settings)))
        if len(guess) != len(batch):
            raise ValueError(f"also: got {len(guess)} mels, expected one a clip, {len(batch)}")
        parts.append((guess, linear.to(batch.device), settings))
    padding = max(each.padding(framing) for _, _, each in parts)
    length = padding + n_samples + 3 * max(each.n_fft for _, _, each in parts)  # all frames fit
    bins, generator = batch.shape[-1], generator or torch.Generator().manual_seed(0)
    first = torch.rand(bins, generator=generator, device=generator.device, dtype=torch.float32)
    # frames start half a window before their centre, so neighbours have opposite signs
    first = first.to(batch.device)
    first += torch.arange(bins, device=batch.device) % 2 / 2

    @torch.no_grad()
    def solve(clips: slice) -> torch.Tensor:
        onto = []
        for guess, linear, each in parts:
            held, offset = (
                None if linear is None else linear[clips],
                padding - each.padding(framing),
            )
            onto.append(Projection(guess[clips], held, each, offset, length))
        if spectrum is None:
            start = sinusoids(batch[clips], first, config)
        else:
            start = lambda frames: spectrum[clips, frames].clone()  # noqa: E731
        signal = solver(onto[0], start, *onto[1:])
        return signal[:, padding : padding + n_samples].contiguous()

    if batch.device.type == "cpu":
        samples = on_cores(lambda i: solve(slice(i, i + 1))[0], len(batch))
    else:
        samples = solve(slice(None))
    return samples[0] if magnitude.ndim == 2 else samples


def sinusoids(magnitude: torch.Tensor, reached: torch.Tensor, config: MelConfig) -> Spectra:
    """Return spectra of steady sinusoids at the peaks of ``magnitude`` [1]_, to be read in order.

    From frame to frame the phase of a bin advances by the frequency of its peak: the vertex of the
    parabola through the bin and its neighbours, or 1.5 bins uphill if that is farther or missing.
    It continues from ``reached``, the phase at the frame before (``[n_fft/2 + 1]``, cycles), which
    is the same for every item of a batch.
    """
    bins = torch.arange(magnitude.shape[-1], device=magnitude.device, dtype=torch.float32)

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
