"""Distances of two sets of sounds, by embeddings ``[n, d]`` of them; no pairs are needed.

They say how far the one set as a whole is from the other, and nothing of any clip. Only numbers by
the same embedding, and of sets of about the same size, can be compared.

References
----------
.. [1] M. Heusel et al., NeurIPS 2017: the Frechet distance; over VGGish: K. Kilgour et al.,
   "Frechet Audio Distance", Interspeech 2019.
.. [2] M. Binkowski et al., "Demystifying MMD GANs", ICLR 2018: the kernel distance.
"""

from __future__ import annotations

import numpy as np

from vaerecon.metrics.signals import UndefinedScore

PER_DIMENSION = 2  # embeddings for each dimension that a covariance needs at least
BLOCK = 1024  # rows of a kernel matrix at once


def _checked(reference: np.ndarray, estimate: np.ndarray, least: int) -> list[np.ndarray]:
    sets = [np.asarray(x, dtype=np.float64) for x in (reference, estimate)]
    if any(x.ndim != 2 for x in sets) or sets[0].shape[1] != sets[1].shape[1]:
        shapes = " and ".join(str(list(x.shape)) for x in sets)
        raise ValueError(f"embeddings: got {shapes}, expected [n, d] and [m, d] of one embedding")
    if (fewest := min(map(len, sets))) < least:
        raise UndefinedScore(
            f"needs {least} embeddings in each set at least, got {fewest} of {sets[0].shape[1]} "
            "dimensions"
        )
    return sets


def frechet_distance(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Frechet distance [1]_ of the normal distributions of ``[n, d]`` and ``[m, d]``, squared.

    ``|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))``, by the eigenvalues of symmetric matrices.

    Raises
    ------
    UndefinedScore
        For fewer than ``2 d`` embeddings in a set: a covariance of so few is (nearly) singular, and
        the distance is then mostly that of the numbers of clips.
    """
    one, other = _checked(reference, estimate, PER_DIMENSION * np.shape(reference)[-1])
    first, second = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (one, other))
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(0)).sum()
    shift = np.square(one.mean(0) - other.mean(0)).sum()
    return float(shift + np.trace(first) + np.trace(second) - 2 * shared)


def kernel_distance(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Kernel distance [2]_: the unbiased squared MMD with the kernel ``(x.y / d + 1)^3``.

    It holds for small sets too. Equal distributions give 0 on average, so it may be negative.

    Raises
    ------
    UndefinedScore
        For a set of fewer than two embeddings.
    """
    one, other = _checked(reference, estimate, 2)
    within = [_kernel_sum(x, x) - _kernel(x, x).sum() for x in (one, other)]
    n, m = len(one), len(other)
    mean = within[0] / (n * (n - 1)) + within[1] / (m * (m - 1))
    return float(mean - 2 * _kernel_sum(one, other) / (n * m))


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of each row of ``x`` with the same row of ``y``: ``[n]``."""
    kernel: np.ndarray = ((x * y).sum(1) / x.shape[1] + 1) ** 3
    return kernel


def _kernel_sum(x: np.ndarray, y: np.ndarray) -> float:
    """Over all pairs of rows, in blocks."""
    blocks = (x[start : start + BLOCK] for start in range(0, len(x), BLOCK))
    return float(sum((((block @ y.T) / x.shape[1] + 1) ** 3).sum() for block in blocks))
