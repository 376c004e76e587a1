"""Solutions to the exercises of ``07_compression``, and the checks behind its last cell."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from vaerecon.lab.nb07_compression.bits import code_length
from vaerecon.lab.setup import check_answers, require


def dead_zone(values: np.ndarray, step: float, zone: float) -> np.ndarray:
    """Exercise 1: whole numbers of steps, rounded up from ``0.5 + zone`` instead of from 0.5."""
    return np.sign(values) * np.floor(np.abs(values) / step + 0.5 - zone)


def wrong_tables(numbers: np.ndarray, own: np.ndarray, other: np.ndarray) -> float:
    """Exercise 2: how many times as long ``numbers`` become by another domain's tables."""
    return code_length(numbers, other) / code_length(numbers, own)


def check_dead_zone(answer: Callable[..., np.ndarray]) -> bool:
    """Whether ``answer`` was tried; a :class:`ValueError` with a hint if it is wrong."""
    values = np.array([-2.7, -1.3, -1.1, -0.6, 0.0, 0.55, 0.65, 1.0, 1.55, 1.7]) * 2
    found = answer(values, 2.0, 0.1)
    if found is None:
        return False
    found, expected = np.asarray(found), dead_zone(values, 2.0, 0.1)
    require(found.shape == values.shape, f"the shape became {list(found.shape)}")
    require(not np.array_equal(found, np.rint(values / 2)), "that is plain rounding")
    require(np.array_equal(found, -answer(-values, 2.0, 0.1)), "-x must give the negative of x")
    require(np.array_equal(found, expected), f"got {found.tolist()}, expected {expected.tolist()}")
    return True


def check_wrong_tables(answer: Callable[..., float]) -> bool:
    """Whether ``answer`` was tried; a :class:`ValueError` with a hint if it is wrong."""
    rng = np.random.default_rng(0)
    own, other = np.geomspace(0.1, 4, 128), np.geomspace(4, 0.1, 128)
    numbers = np.rint(rng.laplace(size=(200, 128)) * own)
    found = answer(numbers, own, other)
    if found is None:
        return False
    ratio = float(found) / wrong_tables(numbers, own, other)
    require(float(found) > 1, "other tables cost more: the ratio is above 1")
    require(abs(ratio - 1) < 1e-6, f"off by a factor of {ratio:.4g}")
    return True


CHECKS: dict[str, Callable] = {"dead_zone": check_dead_zone, "wrong_tables": check_wrong_tables}


check_exercises = partial(check_answers, CHECKS)
