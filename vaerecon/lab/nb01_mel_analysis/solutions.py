"""Solutions to the exercises of ``01_mel_analysis``, and their checks.

``check_x(answer)`` is False if ``answer`` was not tried, and a ValueError gives a hint if it is
wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch

from vaerecon.lab.nb01_mel_analysis.front_ends import NEPER_DB, filter_edges
from vaerecon.lab.setup import check_answers, require
from vaerecon.mel.config import AUDIOLDM_MEL, Framing
from vaerecon.mel.front_end import log_mel


def frame_time(frame: int, framing: Framing = "train") -> float:
    """Exercise 1: the time, in s, at which a mel frame is centred.

    The first frame begins ``padding`` samples before the clip, and its centre is half a window on.
    """
    config = AUDIOLDM_MEL
    start = frame * config.hop_length - config.padding(framing)
    return (start + config.n_fft / 2) / config.sample_rate


def louder(mel: torch.Tensor, decibels: float) -> torch.Tensor:
    """Exercise 2: the log-mel ``[T, 64]`` of the same sound, so many dB louder (or softer).

    A factor on the samples is a shift in nepers, but nothing lies below the floor.
    """
    return (mel + decibels / NEPER_DB).clamp_min(AUDIOLDM_MEL.log_floor)


def resolved_up_to(fundamental: float) -> float:
    """Exercise 3: the frequency, in Hz, up to which the harmonics of a voice keep bins apart.

    The centre of the highest filter whose step from the filter below is at most ``fundamental``
    Hz; 0 if there is none.
    """
    centres = filter_edges()[1:-1]
    steps = centres[1:] - centres[:-1]
    apart = centres[1:][steps <= fundamental]
    return float(apart[-1]) if len(apart) else 0.0


def check_frame_time(answer: Callable[..., float]) -> bool:
    found = answer(0, "inference")
    if found is None:
        return False
    require(abs(found) < 1e-9, f"inference, frame 0: got {found:g} s, but it is centred at 0 s")
    found = answer(100, "inference")
    require(abs(found - 1) < 1e-9, f"inference, frame 100: got {found:g} s; 100 hops are 1 s")
    found, expected = answer(7, "train"), frame_time(7, "train")
    early = abs(found - answer(7, "inference")) < 1e-9
    require(not early, "both framings gave the same; 'train' pads 80 samples less in front")
    require(abs(found - expected) < 1e-9, f"train, frame 7: got {found:g} s, not {expected:g} s")
    return True


def check_louder(answer: Callable[..., torch.Tensor]) -> bool:
    samples = 0.1 * torch.randn(8000, generator=torch.Generator().manual_seed(0))
    samples[4000:] = 0  # silence: the floor
    mel = log_mel(samples, normalize=False)
    found = answer(mel.clone(), 6.0)
    if found is None:
        return False
    require(found.shape == mel.shape, f"the shape became {list(found.shape)}")
    expected = log_mel(samples * 10 ** (6 / 20), normalize=False)
    sounding = mel > AUDIOLDM_MEL.log_floor + 1e-3
    shift = float((found - mel)[sounding].mean())
    require(abs(shift - 6.0) > 1e-3, "the mel was shifted by 6 nepers; a neper is 8.69 dB")
    power = abs(shift - 6 / NEPER_DB * 2) > 1e-3
    require(power, "twice too much: that is for power, and the mel holds magnitudes")
    right = (found - expected)[sounding].abs().max() < 1e-3
    require(bool(right), f"+6 dB: shifted by {shift:.3f}, not by 6 / {NEPER_DB:.2f} nepers")
    softer = answer(mel.clone(), -6.0)
    require(
        float(softer.min()) >= AUDIOLDM_MEL.log_floor - 1e-4,
        f"-6 dB: got {float(softer.min()):.2f}, but nothing lies below the floor of the front-end",
    )
    return True


def check_resolved_up_to(answer: Callable[..., float]) -> bool:
    for fundamental in (200.0, 100.0, 20.0):
        found = answer(fundamental)
        if found is None:
            return False
        expected = resolved_up_to(fundamental)
        require(
            math.isfinite(found) and abs(found - expected) < 1,
            f"{fundamental:g} Hz: got {found:.0f} Hz; look at the steps between neighbouring "
            "centres, filter_edges()[1:-1], and take the upper one of the last pair that fits",
        )
    return True


CHECKS: dict[str, Callable[..., bool]] = {
    "frame_time": check_frame_time,
    "louder": check_louder,
    "resolved_up_to": check_resolved_up_to,
}

check_exercises = partial(check_answers, CHECKS)
