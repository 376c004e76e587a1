"""Solutions to the exercises of ``07_compression``, and their checks."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from vaerecon.lab.nb07_compression.bits import code_length
from vaerecon.lab.setup import exercises, require, require_close


def dead_zone(values: np.ndarray, step: float, zone: float) -> np.ndarray:
    """Exercise 1: whole numbers of steps, rounded up from ``0.5 + zone`` instead of from 0.5."""
    return np.sign(values) * np.floor(np.abs(values) / step + 0.5 - zone)


def wrong_tables(numbers: np.ndarray, own: np.ndarray, other: np.ndarray) -> float:
    """Exercise 2: how many times as long ``numbers`` become by another domain's tables."""
    return code_length(numbers, other) / code_length(numbers, own)


def adaptive_bits(symbols: Sequence[int], n_symbols: int) -> float:
    """Exercise 3: bits of whole numbers from 0, each coded by the counts of those before it."""
    counts, bits = [1] * n_symbols, 0.0
    for seen, symbol in enumerate(symbols):
        bits -= math.log2(counts[symbol] / (n_symbols + seen))
        counts[symbol] += 1
    return bits


def check_dead_zone(answer: Callable[..., np.ndarray]) -> None:
    values = np.array([-2.7, -1.3, -1.1, -0.6, 0.0, 0.55, 0.65, 1.0, 1.55, 1.7]) * 2
    found, expected = np.asarray(answer(values, 2.0, 0.1)), dead_zone(values, 2.0, 0.1)
    require(found.shape == values.shape, f"the shape became {list(found.shape)}")
    require(not np.array_equal(found, np.rint(values / 2)), "that is plain rounding")
    require(np.array_equal(found, -answer(-values, 2.0, 0.1)), "-x must give the negative of x")
    require(np.array_equal(found, expected), f"got {found.tolist()}, expected {expected.tolist()}")


def check_wrong_tables(answer: Callable[..., float]) -> None:
    rng = np.random.default_rng(0)
    own, other = np.geomspace(0.1, 4, 128), np.geomspace(4, 0.1, 128)
    numbers = np.rint(rng.laplace(size=(200, 128)) * own)
    found = float(answer(numbers, own, other))
    ratio = found / wrong_tables(numbers, own, other)
    require(found > 1, "other tables cost more: the ratio is above 1")
    require(abs(ratio - 1) < 1e-6, f"off by a factor of {ratio:.4g}")


def check_adaptive_bits(answer: Callable[..., float]) -> None:
    require_close(answer([0], 4), 2.0, "the first of 4 possible numbers, in bits", 1e-6)
    for symbols in ([0, 0], [0, 1, 0, 3, 0, 0, 2, 0]):
        what = f"{symbols} of 4 possible numbers (count each after it is coded), in bits"
        require_close(answer(symbols, 4), adaptive_bits(symbols, 4), what, 1e-6)


CHECKS, check_exercises = exercises(check_dead_zone, check_wrong_tables, check_adaptive_bits)
