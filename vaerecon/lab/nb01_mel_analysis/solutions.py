"""Solutions to the exercises of notebook 01; a check tells a wrong answer by a hint."""

from collections.abc import Callable

import torch

from vaerecon.lab.nb01_mel_analysis.front_ends import NEPER_DB, filter_edges
from vaerecon.lab.setup import exercises, require, require_close
from vaerecon.mel.config import AUDIOLDM_MEL, Framing
from vaerecon.mel.front_end import log_mel


def frame_time(frame: int, framing: Framing = "train") -> float:
    """Exercise 1: the time, in s, of the centre of a mel frame."""
    config = AUDIOLDM_MEL
    start = frame * config.hop_length - config.padding(framing)  # the first is before the clip
    return (start + config.n_fft / 2) / config.sample_rate


def louder(mel: torch.Tensor, decibels: float) -> torch.Tensor:
    """Exercise 3: the log-mel ``[T, 64]`` of the same sound, louder: an offset, above the floor."""
    return (mel + decibels / NEPER_DB).clamp_min(AUDIOLDM_MEL.log_floor)


def resolved_up_to(fundamental: float) -> float:
    """Exercise 2: the frequency, in Hz, up to which the harmonics of a voice are resolved."""
    centres = filter_edges()[1:-1]
    steps = centres[1:] - centres[:-1]
    apart = centres[1:][steps <= fundamental]
    return float(apart[-1]) if len(apart) else 0.0


def check_frame_time(answer: Callable[..., float]) -> None:
    found = answer(0, "inference")
    require_close(found, 0, "inference, frame 0, in s")
    require_close(answer(100, "inference"), 1, "inference, frame 100 (100 hops are 1 s), in s")
    same = abs(answer(7, "train") - answer(7, "inference")) < 1e-9
    require(not same, "both framings gave the same; 'train' pads 80 samples less in front")
    require_close(answer(7, "train"), frame_time(7, "train"), "train, frame 7, in s")


def check_louder(answer: Callable[..., torch.Tensor]) -> None:
    samples = 0.1 * torch.randn(8000, generator=torch.Generator().manual_seed(0))
    samples[4000:] = 0  # silence: the floor
    mel = log_mel(samples, normalize=False)
    found = answer(mel.clone(), 6.0)
    require(found.shape == mel.shape, f"the shape became {list(found.shape)}")
    expected = log_mel(samples * 10 ** (6 / 20), normalize=False)
    sounding = mel > AUDIOLDM_MEL.log_floor + 1e-3
    shift = float((found - mel)[sounding].mean())
    require(abs(shift - 6.0) > 1e-3, "the mel was shifted by 6 nepers; a neper is 8.69 dB")
    power = abs(shift - 6 / NEPER_DB * 2) > 1e-3
    require(power, "twice too much: that is for power, and the mel holds magnitudes")
    right = (found - expected)[sounding].abs().max() < 1e-3
    require(bool(right), f"+6 dB: shifted by {shift:.3f}, not by 6 / {NEPER_DB:.2f} nepers")
    lowest = float(answer(mel.clone(), -6.0).min())
    above = lowest >= AUDIOLDM_MEL.log_floor - 1e-4
    require(above, f"-6 dB: got {lowest:.2f}, below the floor of the front-end")


def check_resolved_up_to(answer: Callable[..., float]) -> None:
    for fundamental in (200.0, 100.0, 20.0):
        found = answer(fundamental)
        hint = "look at the steps of filter_edges()[1:-1]; the upper centre of the last pair counts"
        what = f"{fundamental:g} Hz ({hint}), in Hz"
        require_close(found, resolved_up_to(fundamental), what, tolerance=1.0)


CHECKS, check_exercises = exercises(check_frame_time, check_louder, check_resolved_up_to)
