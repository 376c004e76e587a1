"""Solutions to the exercises of ``05_fine_tuning``, and their checks."""

import math
from collections.abc import Callable, Sequence

from vaerecon.lab.setup import exercises, require, require_close


def moving_average(values: Sequence[float], decay: float) -> list[float]:
    """Exercise 1: the average after each value; it begins at the first one."""
    average, averages = values[0], []
    for value in values:
        average = decay * average + (1 - decay) * value
        averages.append(average)
    return averages


def one_cycle(step: int, steps: int, peak: float) -> float:
    """Exercise 2: a tenth of the steps linearly from 0 to the peak, then half a cosine to 0."""
    warmup = 0.1 * steps
    if step < warmup:
        return peak * step / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def best_share(own: Sequence[float], other: Sequence[float], most: float) -> int:
    """Exercise 3: the index of the least own error whose other error grew by at most ``most``.

    ``most`` is a factor; the first entry is before the training.
    """
    allowed = [i for i, value in enumerate(other) if value <= most * other[0]]
    return min(allowed, key=lambda i: own[i])


def check_moving_average(answer: Callable[..., list[float]]) -> None:
    found = answer([1.0, 1.0], 0.9)
    require(len(found) == 2, f"got {len(found)} averages of 2 values: give one after each")
    require_close(found[0], 1.0, "the average of 1 and 1 (begin at the first value)")
    values = [2.0, 0.0, 4.0]
    for got, want in zip(answer(values, 0.5), moving_average(values, 0.5), strict=True):
        require_close(got, want, "2, 0, 4 with decay 0.5, the weight of the old average")


def check_one_cycle(answer: Callable[..., float]) -> None:
    for step in (0, 5, 10, 55, 100):
        what = f"step {step} of 100 with a peak of 2"
        require_close(answer(step, 100, 2.0), one_cycle(step, 100, 2.0), what, tolerance=1e-6)


def check_best_share(answer: Callable[..., int]) -> None:
    own, other = [0.3, 0.2, 0.15, 0.16], [0.20, 0.21, 0.25, 0.31]
    for most in (1.0, 1.1, 1.3, 2.0):
        what = f"own {own}, other {other}, at most {most} times"
        require_close(answer(own, other, most), best_share(own, other, most), what)


CHECKS, check_exercises = exercises(check_moving_average, check_one_cycle, check_best_share)
