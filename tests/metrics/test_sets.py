"""Distances of sets of embeddings, against closed forms and plain sums."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

from vaerecon.metrics.sets import BLOCK, frechet_distance, kernel_distance
from vaerecon.metrics.signals import UndefinedScore


def draw(n: int, d: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d))


def test_the_frechet_distance_has_its_closed_form():
    """Whitened draws have exactly the mean and covariance that they are then given."""
    x = draw(50) - draw(50).mean(0)
    white = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
    deviations, shift = np.array([[1.0, 2.0, 3.0], [4.0, 2.0, 0.5]]), np.array([1.0, -2.0, 0.5])
    expected = np.square(shift).sum() + np.square(deviations[0] - deviations[1]).sum()
    found = frechet_distance(white * deviations[0], white * deviations[1] + shift)
    assert found == pytest.approx(expected, rel=1e-9)
    one, other = draw(60) @ draw(3, seed=4), draw(70, seed=5) @ draw(3, seed=6)  # no common axes
    c1, c2 = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    root = scipy.linalg.sqrtm(c1 @ c2).real
    expected = np.square(one.mean(0) - other.mean(0)).sum() + np.trace(c1 + c2 - 2 * root)
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-7)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9)


def test_the_kernel_distance_is_the_plain_sum_and_has_no_bias():
    one, other = draw(BLOCK + 7), 0.3 + draw(40, seed=1)
    kernel = [((x @ y.T) / 3 + 1) ** 3 for x, y in ((one, one), (other, other), (one, other))]
    own = [(k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in kernel[:2]]
    expected = sum(own) - 2 * kernel[2].mean()
    assert kernel_distance(one, other) == pytest.approx(expected, rel=1e-9)
    values = [kernel_distance(draw(8, seed=2 * i), draw(8, seed=2 * i + 1)) for i in range(300)]
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(len(values))  # small sets too
    assert min(values) < 0


def test_too_few_embeddings_have_no_frechet_distance_but_a_kernel_distance():
    with pytest.raises(UndefinedScore, match="needs 6 embeddings in each set at least, got 5 of 3"):
        frechet_distance(draw(5), draw(50))
    assert frechet_distance(draw(6), draw(50)) > 0
    assert np.isfinite(kernel_distance(draw(2), draw(50)))
    with pytest.raises(UndefinedScore, match="needs 2"):
        kernel_distance(draw(50), draw(1))
    with pytest.raises(ValueError, match="mismatch"):  # numpy's own
        kernel_distance(draw(9), draw(9, 2))
