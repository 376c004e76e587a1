"""Bootstrap intervals: they hold the truth as often as they say, and pairs are paired."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from vaerecon.comparison import intervals
from vaerecon.comparison.intervals import bootstrap_difference, bootstrap_mean


def test_intervals_hold_the_true_mean_about_as_often_as_they_say():
    """Of 40 values drawn 300 times; skewed, as errors are."""
    rng = np.random.default_rng(1)
    found = [bootstrap_mean(rng.exponential(2.0, 40), seed) for seed in range(300)]
    share = np.mean([interval.lower <= 2.0 <= interval.upper for interval in found])
    assert 0.88 < share < 0.98


def test_an_interval_is_that_of_scipy_within_the_noise_of_drawing():
    from scipy.stats import bootstrap

    x = np.random.default_rng(2).gamma(2.0, 3.0, 25)
    expected = bootstrap((x,), np.mean, n_resamples=50_000, method="percentile", rng=3)
    found = bootstrap_mean(x)
    ends = (expected.confidence_interval.low, expected.confidence_interval.high)
    assert (found.lower, found.upper) == pytest.approx(ends, abs=0.1 * (ends[1] - ends[0]))
    assert (found.mean, found.n) == (pytest.approx(x.mean()), 25)


def test_the_seed_decides_and_many_values_are_drawn_in_parts(monkeypatch):
    x = np.random.default_rng(4).normal(size=50)
    assert bootstrap_mean(x) == bootstrap_mean(x) != bootstrap_mean(x, seed=1)
    whole = bootstrap_mean(x)
    monkeypatch.setattr(intervals, "AT_ONCE", 7 * len(x))
    assert bootstrap_mean(x) == pytest.approx(whole, abs=0.1)


def test_fewer_than_three_values_have_a_mean_and_no_interval():
    nan = float("nan")
    for values, mean, n in (([1, nan, 2], 1.5, 2), ([nan, 4], 4, 1), ([], nan, 0), ([nan], nan, 0)):
        found = bootstrap_mean(values)
        assert (found.mean, found.n) == (pytest.approx(mean, nan_ok=True), n)
        assert np.isnan([found.lower, found.upper]).all()
    assert bootstrap_mean([2, 2, 2, nan]) == (2, 2, 2, 3)


def test_differences_are_taken_clip_by_clip():
    """In whatever order; far surer than the means where clips differ more than methods do."""
    rng = np.random.default_rng(5)
    clips = [f"{i}.wav" for i in range(30)]
    one = pd.Series(rng.normal(0, 10, 30), clips)
    other = one - 1 + rng.normal(0, 0.1, 30)
    found = bootstrap_difference(one, other.sample(frac=1, random_state=0))
    assert found.n == 30
    assert 0.9 < found.lower < found.mean < found.upper < 1.1
    one.iloc[0], other.iloc[1] = np.nan, np.nan
    assert bootstrap_difference(one, other.iloc[:-1]).n == 27


def test_what_cannot_be_paired_is_refused():
    x = pd.Series([1.0, 2.0], ["a", "a"])
    with pytest.raises(ValueError, match="got the clip 'a' more than once"):
        bootstrap_difference(x, x)
    with pytest.raises(ValueError, match=r"got shape \[1, 2\], expected \[n\]"):
        bootstrap_mean([[1.0, 2.0]])
