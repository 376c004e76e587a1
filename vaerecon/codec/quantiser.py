"""Coefficients to whole numbers and back, by prediction from the decoded frame before."""

import numpy as np

N_STEPS = 113  # steps that there are: 0.5 to 64 posterior deviations
DEAD_ZONE = 0.1  # numbers are rounded up from 0.6, not from 0.5


def step_of(index: int) -> float:
    """Step number ``index``, in posterior deviations: 16 to an octave."""
    return float(2.0 ** (index / 16 - 1))


class Quantiser:
    """Takes ``[L, ..., 128]``, frame by frame; goes on where it ended."""

    def __init__(self, predictor: np.ndarray, index: int):
        self._predictor, self._step = predictor.astype(float), step_of(index)
        self._decoded: np.ndarray = np.zeros(128)  # the last frame, in steps

    def quantise(self, coefficients: np.ndarray) -> np.ndarray:
        """The nearest whole numbers of steps, but for the dead zone."""
        numbers = np.empty(coefficients.shape, np.int32)
        for number, wanted in zip(numbers, coefficients / self._step, strict=True):
            predicted = self._decoded @ self._predictor
            left = wanted - predicted
            number[...] = left + np.copysign(0.5 - DEAD_ZONE, left)  # to whole numbers, towards 0
            self._decoded = predicted + number
        return numbers

    def restore(self, numbers: np.ndarray) -> np.ndarray:
        """The decoded coefficients."""
        decoded = np.empty(numbers.shape)
        for i, number in enumerate(numbers):
            self._decoded = decoded[i] = self._decoded @ self._predictor + number
        return decoded * self._step


def to_frames(latent: np.ndarray) -> np.ndarray:
    """``[8, L, 16]`` to ``[L, 128]``."""
    return np.moveaxis(latent, 0, -1).reshape(-1, 128)
