"""Solutions to the exercises of ``08_real_time``, and their checks."""

from collections.abc import Callable

import numpy as np

from vaerecon.lab.setup import exercises, require, require_close


def latency(block: float, ahead: float) -> float:
    """Exercise 1: seconds that a stream is late, with AudioLDM2's window of 1024 and hop of 160."""
    return block + (1024 - 160) / 16000 + ahead


def shortest_block(model_seconds: float, past: float, ahead: float) -> float:
    """Exercise 3: the block (s) that a model just keeps up with, if it takes ``model_seconds``.

    For one second of input; a block is computed with its past and what lies ahead (s).
    """
    return model_seconds * (past + ahead) / (1 - model_seconds)


def running_peak(samples: np.ndarray, half_life: int) -> np.ndarray:
    """Exercise 2: the largest ``|sample|`` so far, which falls by half in ``half_life`` samples."""
    found, peak = np.empty(len(samples)), 0.0
    for i, value in enumerate(np.abs(samples)):
        peak = max(value, peak * 0.5 ** (1 / half_life))
        found[i] = peak
    return found


def check_latency(answer: Callable[..., float]) -> None:
    for block, ahead in ((0.04, 0.0), (0.08, 0.18)):
        require_close(float(answer(block, ahead)), latency(block, ahead), f"{block}, {ahead} s")


def check_shortest_block(answer: Callable[..., float]) -> None:
    for values in ((0.72, 0.25, 0.16), (0.5, 0.24, 0.08), (0.1, 1.0, 0.0)):
        block = float(answer(*values))
        spent = values[0] * (block + values[1] + values[2])
        require_close(spent, block, f"{values}: computing a block should take as long as it is")


def check_running_peak(answer: Callable[..., np.ndarray]) -> None:
    samples = np.concatenate([[0.1, -0.8, 0.3], np.zeros(10), [0.6, -0.7]])
    found = np.asarray(answer(samples, 5), float)
    require(found.shape == samples.shape, f"the shape became {list(found.shape)}")
    require(found[0] == 0.1, "the first sample knows nothing of the second: use no future")
    require(found[1] == 0.8, "the sign does not count")
    require(found[11] < 0.5, "it falls by half in 5 samples of silence")
    expected = running_peak(samples, 5)
    close = bool(np.allclose(found, expected))
    require(close, f"got {found.round(3)}, expected {expected.round(3)}")


CHECKS, check_exercises = exercises(check_latency, check_running_peak, check_shortest_block)
