"""Distances of two unpaired sets of sounds by their embeddings, ``[n, d]`` and ``[m, d]``.

Only distances by the same embedding, and of sets of similar size, can be compared.

.. [1] M. Heusel et al., NeurIPS 2017; K. Kilgour et al., "Frechet Audio Distance", 2019.
.. [2] M. Binkowski et al., "Demystifying MMD GANs", ICLR 2018: the kernel distance.
"""

import numpy as np

from vaerecon.metrics.signals import UndefinedScore

PER_DIMENSION = 2  # embeddings per dimension that a covariance needs at least
BLOCK = 1024  # rows of a kernel matrix computed at once


def _as_sets(reference: np.ndarray, estimate: np.ndarray, least: int) -> list[np.ndarray]:
    sets = [np.asarray(x, dtype=np.float64) for x in (reference, estimate)]
    if (fewest := min(map(len, sets))) < least:
        raise UndefinedScore(
            f"needs {least} embeddings in each set at least, got {fewest} of "
            f"{sets[0].shape[1]} dimensions"
        )
    return sets


def frechet_distance(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Compute the Frechet distance [1]_ of normals, ``|m - m'|^2 + tr(C + C' - 2 (C C')^(1/2))``.

    ``UndefinedScore`` for fewer than ``2 d`` embeddings in a set: its covariance is near singular.
    """
    sets = _as_sets(reference, estimate, PER_DIMENSION * reference.shape[1])
    # C = R^T R, and the trace of the root is the sum of the singular values of R R'^T
    roots = [np.linalg.qr(x - x.mean(0), "r") / np.sqrt(len(x) - 1) for x in sets]
    spread = sum(np.square(root).sum() for root in roots)
    shared = np.linalg.norm(roots[0] @ roots[1].T, "nuc")
    return float(np.square(sets[0].mean(0) - sets[1].mean(0)).sum() + spread - 2 * shared)


def kernel_distance(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Compute the kernel distance [2]_: unbiased squared MMD, kernel ``(x.y / d + 1)^3``.

    Needs two embeddings per set. Equal distributions give 0 on average, so it may be negative.
    """
    one, other = _as_sets(reference, estimate, 2)
    within = [
        (_kernel_sum(x, x) - ((np.square(x).mean(1) + 1) ** 3).sum()) / (len(x) * (len(x) - 1))
        for x in (one, other)  # without pairs of a row with itself
    ]
    return float(sum(within) - 2 * _kernel_sum(one, other) / (len(one) * len(other)))


def _kernel_sum(x: np.ndarray, y: np.ndarray) -> float:
    """Return the sum of the kernel over all pairs of rows, computed in blocks."""
    blocks = (x[start : start + BLOCK] for start in range(0, len(x), BLOCK))
    return float(sum((((block @ y.T) / x.shape[1] + 1) ** 3).sum() for block in blocks))
