"""Join two overlapping sounds at the boundary of two windows of a long clip.

A method that is a network or uses the original's phase computes nearly the same sound twice in an
overlap, and a crossfade joins them. A method that estimates the phase finds another phase in every
window: both are valid, but their sum cancels at some frequencies and doubles at others. So the
magnitudes of both are crossfaded instead, and some steps of Griffin-Lim, starting from the
crossfaded sound, find a phase for them.
"""

import math

import torch

from vaerecon.mel.config import AUDIOLDM_MEL
from vaerecon.mel.front_end import magnitude_to_log_mel, magnitudes, stft_frames
from vaerecon.utils.windows import Join, WindowPlan, crossfade, fade_in

ALIKE = 0.01  # energy of the difference over that of the sound; below it (-20 dB): crossfade
STEPS = 32  # iterations of Griffin-Lim


def sound_join(plan: WindowPlan, unit: int) -> Join:
    """Return a join function for samples ``[n]`` or ``[B, n]``, for ``overlap_windows``."""
    fade = crossfade(plan, unit)
    middle = slice(plan.margin * unit, (plan.margin + plan.fade) * unit)

    def join(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        one, other = before[..., middle], after[..., middle]
        difference = (one - other).square().sum()
        if difference <= ALIKE * (one.square().sum() + other.square().sum()) / 2:
            return fade(before, after)
        return _refine(before, after, plan, unit)

    return join


def _refine(before: torch.Tensor, after: torch.Tensor, plan: WindowPlan, unit: int) -> torch.Tensor:
    """Join by Griffin-Lim on crossfaded magnitudes, from the equal-power crossfade of both."""
    from vaerecon.phase.retrieval import griffin_lim

    n_samples = before.shape[-1]
    ramp = fade_in(plan, unit).to(before.device)
    angle = ramp * (math.pi / 2)
    start = before * angle.cos() + after * angle.sin()
    spectra = magnitudes(stft_frames(before)), magnitudes(stft_frames(after))
    n_frames = spectra[0].shape[-2]
    centres = [AUDIOLDM_MEL.frame_center(i) for i in range(n_frames)]
    weights = ramp[torch.tensor(centres).clamp_max(n_samples - 1)][:, None].to(before.device)
    wanted = torch.lerp(spectra[0], spectra[1], weights)
    # constrained to the mel of these magnitudes, on which both windows agree, not to each of them
    mel = magnitude_to_log_mel(wanted)
    refined = griffin_lim(wanted, n_samples, log_mel=mel, init=start, n_iter=STEPS)
    # at its ends this sound is less exact than the windows: fade between them within a quarter of
    # the margin, where both agree
    edge = plan.margin * unit // 4
    samples = torch.arange(n_samples, dtype=torch.float32)
    rise = ((samples + 0.5 - edge) / edge).clamp(0, 1)
    return torch.lerp(start, refined, torch.minimum(rise, rise.flip(0)).to(before.device))
