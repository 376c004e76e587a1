"""Solutions to the exercises of notebook 00; a check tells a wrong answer by a hint."""

import math
from collections.abc import Callable

from vaerecon.lab.setup import exercises, require


def neper_to_db(nepers: float) -> float:
    """Exercise 1: a difference of levels in dB."""
    return nepers * 20 / math.log(10)


def latent_shape(n_samples: int) -> tuple[int, int, int]:
    """Exercise 2: the latent's shape for a clip of so many samples."""
    n_frames = n_samples // 160
    return 8, math.ceil(n_frames / 4), 16


def latent_kbps(bits: float) -> float:
    """Exercise 3: kbit/s of a latent whose values take ``bits`` each."""
    return 8 * 16 * 25 * bits / 1000


def check_neper_to_db(answer: Callable[..., float]) -> None:
    ratio = float(answer(0.5)) / neper_to_db(0.5)
    require(abs(ratio - 0.5) > 0.01, "that is 10 log10; the log-mel is of magnitudes, so 20 log10")
    require(abs(ratio - 1) < 0.01, f"1 neper is a factor of e: 20 log10(e) dB; off by {ratio:.3g}")


def check_latent_shape(answer: Callable[..., tuple[int, int, int]]) -> None:
    found = tuple(answer(16000))
    require(found == latent_shape(16000), "100 frames a second, and a position for each 4")
    last = "a last frame that is not whole is left out; 4 frames that are not whole are filled up"
    require(tuple(answer(1000)) == latent_shape(1000), last)


def check_latent_kbps(answer: Callable[..., float]) -> None:
    ratio = float(answer(2.0)) / latent_kbps(2.0)
    require(abs(ratio - 1000) > 1, "that is bit/s; 1 kbit is 1,000 bits")
    require(abs(ratio - 4) > 0.01, "a latent has a position for each 4 frames: 25 a second")
    require(abs(ratio - 1) < 0.01, f"8 channels x 16 rows x 25 positions; off by {ratio:.3g}")


CHECKS, check_exercises = exercises(check_neper_to_db, check_latent_shape, check_latent_kbps)
