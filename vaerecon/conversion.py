"""Samples of any number format, channels and rate to mono float32: for files and arrays alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import soxr

RATES = range(8000, 192001)  # Hz; what is accepted, in files and arrays


def numpy_defaults() -> np.errstate:
    """A context with numpy's own settings for floating-point errors, whatever the caller's are.

    Under the caller's ``numpy.errstate(all="raise")`` a harmless underflow would be an error.
    """
    return np.errstate(divide="warn", over="warn", under="ignore", invalid="warn")


def resample_blocks(blocks: Iterable[np.ndarray], rate: int, target: int) -> Iterator[np.ndarray]:
    """Mono blocks at another rate: ``round(N * target / rate)`` samples in all, at least one."""
    if rate == target:
        yield from blocks
        return
    stream = soxr.ResampleStream(rate, target, 1, dtype="float32", quality="VHQ")
    total, n_in, n_out = 0.0, 0, 0
    for block in blocks:
        out = stream.resample_chunk(block)
        total, n_in, n_out = total + float(block.sum()), n_in + len(block), n_out + len(out)
        yield out
    if n_in:
        out = stream.resample_chunk(np.zeros(0, np.float32), last=True)
        # fewer samples than make one at the target rate: their mean
        yield out if n_out + len(out) else np.array([total / n_in], np.float32)


def mix_down(block: np.ndarray, name: str) -> np.ndarray:
    """``[n, channels]``, checked to be finite, to ``[n]``: the mean of the channels."""
    check_finite(block, name)
    with numpy_defaults():
        return block.mean(axis=1, dtype=np.float64).astype(np.float32)


def as_float32_array(samples: Any) -> np.ndarray:
    """A new float32 array of what numpy can convert, checked but for its shape."""
    if hasattr(samples, "detach"):  # a torch tensor, on any device
        samples = samples.detach().cpu()
    try:
        x = np.asarray(samples)
        if x.dtype in (np.int16, np.int32):
            x = x / -float(np.iinfo(x.dtype).min)
        elif x.dtype.kind != "f":
            raise TypeError(f"{x.dtype} values")
        # what is too large becomes infinite, which is refused below
        with np.errstate(over="ignore", under="ignore"):
            x = x.astype(np.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"samples: got {type(samples).__name__} ({error}), expected floats (or int16, int32); "
            "convert them, full scale being -1..1"
        ) from None
    if not x.size:
        raise ValueError(f"samples: got none (shape {list(x.shape)}), expected at least one")
    check_finite(x, "samples")
    return x


def check_finite(x: np.ndarray, name: str) -> None:
    """Raise ``ValueError`` if a value is NaN or infinite; ``name`` is what the message calls it."""
    if not np.isfinite(x).all():
        raise ValueError(
            f"{name}: got NaN or infinite values, expected finite ones; "
            "clean them first, for example with numpy.nan_to_num"
        )


def check_rate(rate: int, name: str) -> int:
    """``rate`` as an int; ``ValueError`` if it is none of :data:`RATES`."""
    if rate not in RATES:
        raise ValueError(
            f"{name}: got a sample rate of {rate!r}, expected a whole number of Hz from "
            f"{RATES[0]} to {RATES[-1]}; resample it first"
        )
    return int(rate)
