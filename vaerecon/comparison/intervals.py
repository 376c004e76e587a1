"""Bootstrap intervals [1]_ of a mean over clips, and of the mean of paired differences.

Clips are drawn with replacement, and the mean is taken of each draw; the interval holds the middle
95 % of these means. It says how much the mean would change with other clips of the same kind, and
nothing about other kinds. For fewer than three clips there is no interval; for fewer than about ten
it is somewhat too narrow.

References
----------
.. [1] B. Efron and R. Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13 (percentile
   interval).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike

CONFIDENCE = 0.95
RESAMPLES = 2000  # draws
FEWEST = 3  # values that get an interval
AT_ONCE = 2**20  # values that are drawn at once: 16 MB


class Interval(NamedTuple):
    """A mean and its 95 % interval."""

    mean: float  # NaN of no value
    lower: float  # NaN of fewer than three values, as upper
    upper: float
    n: int  # values, those that are NaN left out


def bootstrap_mean(values: ArrayLike, seed: int = 0) -> Interval:
    """Mean of ``values`` ``[n]``, one a clip, and its bootstrap interval; NaN is left out.

    The same values and ``seed`` give the same interval.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1:
        raise ValueError(f"values: got shape {list(x.shape)}, expected [n], one number a clip")
    x = x[~np.isnan(x)]
    n = len(x)
    if n < FEWEST:
        return Interval(float(x.mean()) if n else np.nan, np.nan, np.nan, n)
    rng = np.random.default_rng(seed)
    parts = np.array_split(np.arange(RESAMPLES), math.ceil(RESAMPLES * n / AT_ONCE))
    means = [x[rng.integers(n, size=(len(part), n))].mean(axis=1) for part in parts]
    rest = (1 - CONFIDENCE) / 2
    lower, upper = np.quantile(np.concatenate(means), [rest, 1 - rest])
    return Interval(float(x.mean()), float(lower), float(upper), n)


def bootstrap_difference(one: pd.Series, other: pd.Series) -> Interval:
    """Mean of ``one - other`` and its interval, over the clips that have both values.

    The index of both is the clip, each once; what only one of them has is left out.
    """
    for name, series in (("one", one), ("other", other)):
        if not series.index.is_unique:
            twice = series.index[series.index.duplicated()][0]
            raise ValueError(f"{name}: got the clip {twice!r} more than once; choose rows of one "
                             "method, model and source")  # fmt: skip
    one, other = one.align(other, join="inner")
    return bootstrap_mean(one.to_numpy(np.float64) - other.to_numpy(np.float64))
