"""Solutions to the exercises of ``06_listening_test``, and their checks."""

import math
from collections.abc import Callable, Mapping, Sequence

from vaerecon.lab.setup import exercises, require, require_close


def right_needed(n_trials: int) -> int:
    """Exercise 1: the fewest right answers of ``n_trials`` whose p-value is below 0.05."""
    ways = 0
    for right in range(n_trials, -1, -1):
        ways += math.comb(n_trials, right)
        if ways / 2**n_trials >= 0.05:
            return right + 1
    return 0


def power(n_trials: int, share: float) -> float:
    """Exercise 2: the chance of so many right answers if ``share`` is that of each."""
    counts = range(right_needed(n_trials), n_trials + 1)
    return sum(math.comb(n_trials, k) * share**k * (1 - share) ** (n_trials - k) for k in counts)


def left_out(ratings: Mapping[str, Sequence[float]]) -> list[str]:
    """Exercise 3: who rates the hidden reference below 90 in more than 15 % of the items."""
    missed = {name: sum(x < 90 for x in scores) / len(scores) for name, scores in ratings.items()}
    return sorted(name for name, share in missed.items() if share > 0.15)


def check_right_needed(answer: Callable[..., int]) -> None:
    for n_trials in (5, 10, 16, 40):
        what = f"{n_trials} trials (add up the chances of as many right answers or more)"
        require_close(answer(n_trials), right_needed(n_trials), what)


def check_power(answer: Callable[..., float]) -> None:
    require_close(answer(10, 1.0), 1.0, "who is always right succeeds: 10 trials, share 1", 1e-6)
    for n_trials, share in ((16, 0.7), (40, 0.7), (16, 0.5)):
        what = f"{n_trials} trials, share {share:g}"
        require_close(answer(n_trials, share), power(n_trials, share), what, 1e-6)


def check_left_out(answer: Callable[..., list[str]]) -> None:
    ratings = {"d": [89] * 4 + [100] * 16, "a": [89] * 3 + [100] * 17, "c": [90] * 5, "b": [10, 99]}
    found = sorted(answer(ratings))
    require("a" not in found, "3 of 20 are 15 %, and not more than that")
    require("c" not in found, "90 is not below 90")
    require(found == left_out(ratings), f"got {', '.join(map(str, found))}, expected b and d")


CHECKS, check_exercises = exercises(check_right_needed, check_power, check_left_out)
