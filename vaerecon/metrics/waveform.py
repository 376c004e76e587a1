"""Metrics that compare samples.

References, and a note on methods that estimate the phase: see :mod:`vaerecon.metrics`.
"""

import math
from collections.abc import Iterable

import torch

from vaerecon.metrics.signals import Side, as_pair, paired_blocks, ratio_db


def _sum(values: Iterable[torch.Tensor]) -> float:
    """Return the sum of all values of all blocks."""
    return sum(float(x.sum()) for x in values)


def snr_db(reference: Side, estimate: Side) -> float:
    """Compute the SNR, ``10 log10(sum ref^2 / sum (ref - est)^2)``, in dB; no scaling."""
    ref, est = as_pair(reference, estimate)
    ref.require_sound(centred=False)
    return ratio_db(ref.energy, _sum((r - e).square() for r, e in paired_blocks(ref, est)))


def si_sdr_db(reference: Side, estimate: Side) -> float:
    """Compute the scale-invariant signal-to-distortion ratio [1]_, in dB.

    It is the SNR after scaling the reference to the best fit. Means are not removed, as in most
    published code.
    """
    ref, est = as_pair(reference, estimate)
    ref.require_sound(centred=False)
    est.require_sound(centred=False)
    scale = _sum(r * e for r, e in paired_blocks(ref, est)) / ref.energy
    # not a difference of energies, which for a nearly perfect estimate is only rounding error
    error = _sum((e - scale * r).square() for r, e in paired_blocks(ref, est))
    return ratio_db(scale**2 * ref.energy, error)


def correlation(reference: Side, estimate: Side) -> float:
    """Compute Pearson's correlation of the samples, -1..1."""
    ref, est = as_pair(reference, estimate)
    ref.require_sound()
    est.require_sound()
    product = above = below = 0.0
    for r, e in paired_blocks(ref, est):
        r, e = r - ref.mean, e - est.mean
        product += float(r.dot(e))
        above, below = above + float(r.dot(r)), below + float(e.dot(e))
    return min(1.0, max(-1.0, product / math.sqrt(above * below)))  # rounding may exceed 1


def rmse(reference: Side, estimate: Side) -> float:
    """Compute the root mean square error of the samples, in their own unit."""
    ref, est = as_pair(reference, estimate)
    return math.sqrt(_sum((r - e).square() for r, e in paired_blocks(ref, est)) / len(ref))
