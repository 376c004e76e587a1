"""Solutions to the exercises of notebook 04; a check tells a wrong answer by a hint."""

import math
from collections.abc import Callable

import torch

from vaerecon.audio.samples import normalize_level
from vaerecon.lab.setup import exercises, require
from vaerecon.mel.front_end import log_mel
from vaerecon.metrics.spectral import log_mel_mae
from vaerecon.phase import retrieval as phase


def best_snr_db(correlation: float) -> float:
    """Exercise 2: the highest SNR that any volume can give an estimate of this correlation, dB."""
    if correlation <= 0:
        return 0.0  # at silence, since a volume is not negative
    # 1 - 2 c g + g^2 is least at the gain g = c
    return math.inf if correlation >= 1 else -10 * math.log10(1 - correlation**2)


def clips_needed(p: float) -> int:
    """Exercise 3: the fewest clips for which winning on all has a two-sided p-value below ``p``."""
    n = 1
    while 2 / 2**n >= p:  # the sign test for n of n
        n += 1
    return n


def my_method(log_mel: torch.Tensor, n_samples: int, generator: torch.Generator) -> torch.Tensor:
    """Exercise 1: a method of one's own, Griffin-Lim with four steps."""
    start = phase.mel_to_magnitude(log_mel)
    return phase.griffin_lim(start, n_samples, log_mel=log_mel, n_iter=4, generator=generator)


def check_best_snr_db(answer: Callable[[float], float]) -> None:
    found = answer(0.6)
    require(abs(found) > 1e-9, "0.6 is coherent in part: at the right volume it beats silence")
    require(found > 0, "the best SNR is never below that of silence, 0 dB")
    for c in (0.02, 0.6, 0.99):
        right = abs(answer(c) - best_snr_db(c)) < 1e-6 + 1e-3 * best_snr_db(c)
        hint = "put the best gain, g = c, into SNR = -10 log10(1 - 2 c g + g^2)"
        require(right, f"for a correlation of {c} you have {answer(c):.4g} dB; {hint}")
    require(abs(answer(-0.3)) < 1e-9, "with a negative correlation every sound is worse than none")


def check_clips_needed(answer: Callable[[float], int]) -> None:
    found = answer(0.05)
    require(found != 5, "that is one-sided: the other method might have won them all as well")
    for p in (0.5, 0.05, 0.01, 0.001):
        hint = "n wins of n have the p-value 2 / 2^n, which must be below p"
        require(answer(p) == clips_needed(p), f"for p = {p} you have {answer(p)}; {hint}")


def check_my_method(answer: Callable[..., torch.Tensor]) -> None:
    t = torch.arange(16000 + 77) / 16000
    sound, _ = normalize_level(torch.sin(2 * math.pi * 440 * t) * torch.exp(-3 * (t % 0.3)))
    mel = log_mel(sound, normalize=False)
    runs = [answer(mel, len(sound), torch.Generator().manual_seed(0)) for _ in range(2)]
    found = list(runs[0].shape)
    require(found == [len(sound)], f"got shape {found}, expected [{len(sound)}], as n_samples says")
    require(bool(torch.isfinite(runs[0]).all()), "some samples are not finite")
    require(torch.equal(*runs), "two runs with the same seed differ: draw from `generator` only")
    error = log_mel_mae(sound, runs[0])
    # silence has 2.7 here and the solution 0.6
    require(error < 1.0, f"a log-mel error of {error:.2f} nepers: the sound has another mel")
    batch = answer(mel.expand(2, -1, -1), len(sound), torch.Generator().manual_seed(0))
    require(list(batch.shape) == [2, *found], "a batch [2, T, 64] must give [2, N]")


CHECKS, check_exercises = exercises(check_best_snr_db, check_clips_needed, check_my_method)
