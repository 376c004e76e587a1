"""Two sounds that overlap, made one: what long clips need where two windows meet.

A method that is a network or keeps the original's phase gives the same sound twice in an overlap,
and a cross-fade joins them. A method that invents a phase invents another one for every window:
both are right, but added up they cancel at some frequencies and double at others. So the join is
computed as any spectrogram without a phase is inverted: the magnitudes of both, the earlier fading
into the later, are given to some steps of Griffin-Lim that begin from the cross-faded sound.
"""

import math

import torch

from vaerecon.mel.config import AUDIOLDM_MEL
from vaerecon.mel.front_end import magnitude_to_log_mel, magnitudes, stft_frames
from vaerecon.utils.windows import Join, WindowPlan, crossfade, fade_in

ALIKE = 0.01  # energy of the difference over that of the sound: below it (-20 dB) they agree
STEPS = 32  # of Griffin-Lim


def sound_join(plan: WindowPlan, unit: int) -> Join:
    """A join of samples ``[n]`` or ``[B, n]``, to be used by ``overlap_windows``."""
    fade = crossfade(plan, unit)
    middle = slice(plan.margin * unit, (plan.margin + plan.fade) * unit)

    def join(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        one, other = before[..., middle], after[..., middle]
        difference = (one - other).square().sum()
        if difference <= ALIKE * (one.square().sum() + other.square().sum()) / 2:
            return fade(before, after)
        return _mended(before, after, plan, unit)

    return join


def _mended(before: torch.Tensor, after: torch.Tensor, plan: WindowPlan, unit: int) -> torch.Tensor:
    """Griffin-Lim between the magnitudes of both, from their cross-fade at equal power."""
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
    # held to the mel of these magnitudes, not to each of them: what both windows got right
    mel = magnitude_to_log_mel(wanted)
    mended = griffin_lim(wanted, n_samples, log_mel=mel, init=start, n_iter=STEPS)
    # its own ends are those of a clip; the windows' are better: from one to the other in a quarter
    # of the margin, where both agree
    edge = plan.margin * unit // 4
    samples = torch.arange(n_samples, dtype=torch.float32)
    rise = ((samples + 0.5 - edge) / edge).clamp(0, 1)
    return torch.lerp(start, mended, torch.minimum(rise, rise.flip(0)).to(before.device))
