"""Convert samples of any number format, channel count and rate to mono float32."""

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import soxr

from vaerecon.utils.numbers import is_number

RATES = range(8000, 192001)  # Hz; accepted sample rates, in files and arrays
FULL_SCALE = {"int16": 2.0**15, "int32": 2.0**31}  # integer value of 1.0; other types are refused


def numpy_defaults() -> np.errstate:
    """Return a context with numpy's default floating-point error settings.

    Under a caller's ``numpy.errstate(all="raise")`` a harmless underflow would raise an error.
    """
    return np.errstate(divide="warn", over="warn", under="ignore", invalid="warn")


def resample_blocks(blocks: Iterable[np.ndarray], rate: int, target: int) -> Iterator[np.ndarray]:
    """Resample mono blocks; yields ``round(N * target / rate)`` samples in total, at least one."""
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
        # too few samples for one at the target rate: return their mean
        yield out if n_out + len(out) else np.array([total / n_in], np.float32)


def mix_down(block: np.ndarray, name: str) -> np.ndarray:
    """Return the mean of the channels, ``[n, channels]`` to ``[n]``; ValueError if not finite."""
    check_finite(block, name)
    with numpy_defaults():
        mono: np.ndarray = block.mean(axis=1, dtype=np.float64).astype(np.float32)
    return mono


def full_scale(dtype: Any) -> float:
    """Return the full-scale value of a numpy or torch sample type; TypeError for other types."""
    name = getattr(dtype, "name", str(dtype).removeprefix("torch."))
    if "float" not in name and name not in FULL_SCALE:
        raise TypeError(f"{name} values")
    return FULL_SCALE.get(name, 1.0)


def refusal(samples: Any, reason: Exception) -> ValueError:
    """Return the error for an argument that is not samples, with a hint how to convert it."""
    if isinstance(samples, str | bytes | os.PathLike) or hasattr(samples, "read"):
        fix = "read a file with vaerecon.load_audio(path)"
    elif isinstance(samples, Mapping | tuple):
        fix = "where the rate comes with them, use vaerecon.Clip.from_samples(samples, sample_rate)"
    elif hasattr(samples, "samples"):
        fix = "use its .samples"
    else:
        fix = "convert them, full scale being -1..1, such as (x - 128.0) / 128 for uint8"
    detail = f" ({reason})" if hasattr(samples, "dtype") or isinstance(samples, list) else ""
    return ValueError(
        f"samples: got {type(samples).__name__}{detail}, expected floats (or int16, int32, which "
        f"are scaled to -1..1); {fix}"
    )


def to_float32(samples: Any) -> np.ndarray:
    """Return ``samples`` as a new float32 array; int16 and int32 are scaled to -1..1.

    Raises ValueError for other integers, and for anything that is not an array of numbers.
    """
    if hasattr(samples, "detach") and hasattr(samples, "cpu"):  # a torch tensor, on any device
        samples = samples.detach().cpu()
    try:
        x = np.asarray(samples)
        scale = np.float32(full_scale(x.dtype))
        # values beyond float32 become infinite, which is refused later
        with np.errstate(over="ignore", under="ignore"):
            x = np.array(x, dtype=np.float32, order="C")
            x /= scale
        return x
    except (TypeError, ValueError, RuntimeError) as error:
        raise refusal(samples, error) from None


def as_float32_array(samples: Any) -> np.ndarray:
    """Return ``samples`` as by :func:`to_float32`; ValueError if empty or not finite."""
    x = to_float32(samples)
    if not x.size:
        raise ValueError(f"samples: got none (shape {list(x.shape)}), expected at least one")
    check_finite(x, "samples")
    return x


def check_finite(x: np.ndarray, name: str) -> None:
    """Raise ``ValueError`` if a value is NaN or infinite; ``name`` is used in the message."""
    if not np.isfinite(x).all():
        raise ValueError(
            f"{name}: got NaN or infinite values, expected finite ones; "
            "clean them first, for example with numpy.nan_to_num"
        )


def check_max_length(value: Any) -> None:
    """Raise ``ValueError`` unless ``value`` is a positive number of seconds, or None (no limit)."""
    if value is not None and not (is_number(value) and 0 < value < math.inf):
        raise ValueError(
            f"max_length: got {value!r}, expected a positive number of seconds (not text); "
            "use None for the whole file"
        )


def check_rate(rate: int, name: str) -> int:
    """Return ``rate`` as an int; ``ValueError`` if it is not in :data:`RATES`."""
    if rate not in RATES:
        raise ValueError(
            f"{name}: got a sample rate of {rate!r}, expected a whole number of Hz from "
            f"{RATES[0]} to {RATES[-1]}; resample it first"
        )
    return int(rate)
