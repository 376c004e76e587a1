"""The metrics that compare samples; what they tell of an invented phase is in the package's text.

References: see :mod:`vaerecon.metrics`.
"""

import math
from collections.abc import Iterable

import torch

from vaerecon.metrics.signals import Side, as_pair, paired_blocks, ratio_db


def _sum(values: Iterable[torch.Tensor]) -> float:
    """The sum of everything in all blocks."""
    return sum(float(x.sum()) for x in values)


def snr_db(reference: Side, estimate: Side) -> float:
    """Signal-to-noise ratio, ``10 log10(sum ref^2 / sum (ref - est)^2)``, in dB; no scaling."""
    ref, est = as_pair(reference, estimate)
    ref.require_sound(centred=False)
    return ratio_db(ref.energy, _sum((r - e).square() for r, e in paired_blocks(ref, est)))


def si_sdr_db(reference: Side, estimate: Side) -> float:
    """Scale-invariant signal-to-distortion ratio [1]_, in dB.

    The SNR after the reference has been scaled to fit the estimate best. The means stay, as in most
    published code.
    """
    ref, est = as_pair(reference, estimate)
    ref.require_sound(centred=False)
    est.require_sound(centred=False)
    scale = _sum(r * e for r, e in paired_blocks(ref, est)) / ref.energy
    # the error itself, not a difference of energies: near a perfect estimate that is only rounding
    error = _sum((e - scale * r).square() for r, e in paired_blocks(ref, est))
    return ratio_db(scale**2 * ref.energy, error)


def correlation(reference: Side, estimate: Side) -> float:
    """Pearson's correlation of the samples, -1..1."""
    ref, est = as_pair(reference, estimate)
    ref.require_sound()
    est.require_sound()
    product = above = below = 0.0
    for r, e in paired_blocks(ref, est):
        r, e = r - ref.mean, e - est.mean
        product += float(r.dot(e))
        above, below = above + float(r.dot(r)), below + float(e.dot(e))
    return min(1.0, max(-1.0, product / math.sqrt(above * below)))  # beyond only by rounding


def rmse(reference: Side, estimate: Side) -> float:
    """Root mean square error of the samples, in their own unit."""
    ref, est = as_pair(reference, estimate)
    return math.sqrt(_sum((r - e).square() for r, e in paired_blocks(ref, est)) / len(ref))
