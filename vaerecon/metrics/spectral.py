"""Metrics that compare log-mels and STFT magnitudes, with the common gain of ``one_gain``.

References: see :mod:`vaerecon.metrics`.
"""

import math

import torch
import torch.nn.functional as F

from vaerecon.audio.samples import Reader
from vaerecon.mel.config import AUDIOLDM_MEL, MelConfig
from vaerecon.mel.front_end import log_mel_section, magnitudes
from vaerecon.metrics.signals import BLOCK, Side, as_pair, one_gain, paired_magnitudes, ratio_db
from vaerecon.utils.windows import split

# STFT magnitude at peak 0.5, about that of the mel's floor (1e-5 / filter sum 0.064): without it
# digital silence, whose level is -inf dB, would dominate the mean
LSD_FLOOR = 1e-4
MRSTFT = ((512, 50, 240), (1024, 120, 600), (2048, 240, 1200))  # n_fft, hop, window, samples; [3]_
MRSTFT_FLOOR = 1e-7  # power; the clamp of the published implementation of [3]_


def log_mel_mae(reference: Side, estimate: Side, config: MelConfig = AUDIOLDM_MEL) -> float:
    """Compute the mean absolute difference of the log-mels, in nepers, with one gain.

    ``config`` has the settings of the mel; the metric of this name in tables uses AudioLDM2's.
    """
    ref, est = as_pair(reference, estimate)
    # in float32, as the front-end computes
    readers = [lambda a, b, r=r: r(a, b).float() for r in one_gain(ref, est)]
    total, n_frames = 0.0, config.n_frames(len(ref))
    for ends in split(n_frames, BLOCK // config.hop_length):
        one, other = (log_mel_section(read, len(ref), *ends, config) for read in readers)
        total += float((one - other).double().abs().sum())
    return total / (n_frames * config.n_mels)


def lsd_db(reference: Side, estimate: Side) -> float:
    """Compute the log-spectral distance [2]_, in dB.

    RMS over bins of the difference of ``20 log10(max(|S|, LSD_FLOOR))``, averaged over frames.
    """
    total, frames = 0.0, 0
    for pair in paired_magnitudes(*as_pair(reference, estimate)):
        one, other = (20 * x.clamp_min(LSD_FLOOR).log10() for x in pair)
        total += float((one - other).square().mean(dim=-1).sqrt().sum())
        frames += len(one)
    return total / frames


def spectral_convergence_db(reference: Side, estimate: Side) -> float:
    """Compute ``20 log10(|| |S| - |S^| || / || |S| ||)`` of STFT magnitudes (Frobenius), in dB."""
    above = below = 0.0
    for one, other in paired_magnitudes(*as_pair(reference, estimate)):
        above += float((one - other).square().sum())
        below += float(one.square().sum())
    return ratio_db(above, below)


def mrstft(reference: Side, estimate: Side) -> float:
    """Compute the multi-resolution STFT distance [3]_, the mean over three resolutions.

    Spectral convergence (a ratio, not in dB) plus the MAE of log magnitudes (nepers).
    """
    ref, est = as_pair(reference, estimate)
    readers, total = one_gain(ref, est), 0.0
    for sizes in MRSTFT:
        hop, count = sizes[1], 0
        error = energy = difference = 0.0
        for ends in split(len(ref) // hop + 1, BLOCK // hop):
            one, other = (_plain_magnitudes(read, len(ref), *ends, *sizes) for read in readers)
            error += float((one - other).square().sum())
            energy += float(one.square().sum())
            difference += float((one.log() - other.log()).abs().sum())
            count += one.numel()
        total += math.sqrt(error / energy) + difference / count
    return total / len(MRSTFT)


def _plain_magnitudes(
    read: Reader, n_samples: int, first: int, last: int, n_fft: int, hop: int, win: int
) -> torch.Tensor:
    """Compute magnitudes of frames ``first`` to ``last`` of a centred STFT, padded with zeros."""
    start, stop = first * hop - n_fft // 2, (last - 1) * hop + n_fft // 2
    x = read(max(0, start), min(n_samples, stop))
    x = F.pad(x, (max(0, -start), max(0, stop - n_samples)))
    window = torch.hann_window(win, dtype=torch.float64)
    spectrum = torch.stft(x, n_fft, hop, win, window, center=False, return_complex=True)
    return magnitudes(spectrum).clamp_min(math.sqrt(MRSTFT_FLOOR))
