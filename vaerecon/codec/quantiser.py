"""Quantise coefficients to whole numbers, predicted from the decoded previous frame."""

import numpy as np

N_STEPS = 113  # number of steps: 0.5 to 64 posterior deviations
DEAD_ZONE = 0.1  # magnitudes are rounded up from 0.6, not from 0.5


def step_of(index: int) -> float:
    """Return the step with number ``index``, in posterior deviations; 16 steps per octave."""
    return float(2.0 ** (index / 16 - 1))


class Quantiser:
    """Quantiser for frames ``[L, ..., 128]``; each call continues after the last frame."""

    def __init__(self, predictor: np.ndarray, index: int):
        self._predictor, self._step = predictor.astype(float), step_of(index)
        self._decoded: np.ndarray = np.zeros(128)  # the last frame, in steps

    def quantise(self, coefficients: np.ndarray) -> np.ndarray:
        """Return the prediction errors as whole numbers of steps, rounded with a dead zone."""
        numbers = np.empty(coefficients.shape, np.int32)
        for number, wanted in zip(numbers, coefficients / self._step, strict=True):
            predicted = self._decoded @ self._predictor
            residual = wanted - predicted
            number[...] = residual + np.copysign(0.5 - DEAD_ZONE, residual)  # truncated to int
            self._decoded = predicted + number
        return numbers

    def restore(self, numbers: np.ndarray) -> np.ndarray:
        """Return the decoded coefficients."""
        decoded = np.empty(numbers.shape)
        for i, number in enumerate(numbers):
            self._decoded = decoded[i] = self._decoded @ self._predictor + number
        return decoded * self._step


def to_frames(latent: np.ndarray) -> np.ndarray:
    """Convert a latent ``[8, L, 16]`` to frames ``[L, 128]``."""
    return np.moveaxis(latent, 0, -1).reshape(-1, 128)
