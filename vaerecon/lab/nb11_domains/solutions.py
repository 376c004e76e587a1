"""Solutions to the exercises of ``11_domains``, and their checks."""

from collections.abc import Callable, Sequence

import numpy as np

from vaerecon.lab.setup import exercises, require, require_close


def domain_mean(values: np.ndarray, domains: Sequence[str]) -> float:
    """Exercise 1: the mean of the domains' means, so that each domain counts the same."""
    where = np.asarray(domains)
    return float(np.mean([values[where == name].mean() for name in np.unique(where)]))


def fewest_clips(p: float) -> int:
    """Exercise 2: from how many clips on a draw is all lowest clip with a probability below p."""
    n = 1
    while n**-n >= p:
        n += 1
    return n


def unpaired_interval(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Exercise 3: the 95 % interval of ``mean(one) - mean(other)``, of different clips."""
    rng = np.random.default_rng(0)
    means = [x[rng.integers(len(x), size=(2000, len(x)))].mean(axis=1) for x in (one, other)]
    lower, upper = np.quantile(means[0] - means[1], [0.025, 0.975])
    return float(lower), float(upper)


def check_domain_mean(answer: Callable[..., float]) -> None:
    values, domains = np.array([1.0, 2.0, 3.0, 8.0]), ["a", "a", "a", "b"]
    require_close(answer(values, domains), 5.0, "three clips of 1, 2, 3 and another domain's of 8")
    require_close(answer(values[2:], domains[2:]), 5.5, "two domains with a clip each, 3 and 8")


def check_fewest_clips(answer: Callable[..., int]) -> None:
    for p in (0.3, 0.025, 1e-6):
        require_close(answer(p), fewest_clips(p), f"p = {p:g}")


def check_unpaired_interval(answer: Callable[..., tuple[float, float]]) -> None:
    rng = np.random.default_rng(1)
    for sizes in ((8, 12), (10, 10)):  # of equal ones, a pairing raises no error, and is wrong
        one, other = (np.sort(rng.standard_normal(n)) for n in sizes)
        found, want = answer(one + 2, other), unpaired_interval(one + 2, other)
        require(len(found) == 2, f"expected two numbers, got {len(found)}")
        room = 0.12 * (want[1] - want[0])  # what other draws change
        for got, right, end in zip(found, want, ("lower", "upper"), strict=True):
            require_close(float(got), right, f"{sizes[0]} and {sizes[1]} clips, {end} end", room)


CHECKS, check_exercises = exercises(check_domain_mean, check_fewest_clips, check_unpaired_interval)
