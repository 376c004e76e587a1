"""PESQ, STOI, ViSQOL and DNSMOS: published perceptual models, for clips of any length.

PESQ, STOI and ViSQOL are made for clips of some seconds. A longer clip is split into equal pieces
of at most the lengths below; its score is the mean over the pieces that have a score.

References: see :mod:`vaerecon.metrics`.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from importlib import import_module
from typing import Any

import numpy as np
import torch

from vaerecon.audio.samples import SILENCE, Reader
from vaerecon.metrics.signals import (
    SAMPLE_RATE,
    Side,
    UndefinedScore,
    as_pair,
    one_gain,
    pieces_of,
    resample,
)

# Lengths in samples. With more than 50 utterances (of >= 0.38 s) PESQ's C code writes past its
# arrays and crashes. STOI ignores frames 40 dB below the loudest one of a piece.
PESQ_LONGEST = 15 * SAMPLE_RATE
STOI_SHORTEST = 6144  # 30 frames with a hop of 128 at pystoi's 10 kHz, in 16 kHz
STOI_LONGEST = 30 * SAMPLE_RATE
VISQOL_LONGEST = 30 * SAMPLE_RATE  # time and memory grow with the square of the length
_TOO_SHORT = "less than 0.41 s of the reference is within 40 dB of its loudest frame"


def _mean_of_pieces(
    score: Callable[[torch.Tensor, torch.Tensor], float],
    readers: Sequence[Reader],
    n_samples: int,
    longest: int,
) -> float:
    """Compute the mean over equal pieces of at most ``longest`` samples, of defined scores."""
    values, reasons = [], []
    for start, stop in pieces_of(n_samples, longest):
        try:
            values.append(score(*(read(start, stop) for read in readers)))
        except UndefinedScore as reason:
            reasons.append(reason)
    if not values:
        raise reasons[-1]
    return sum(values) / len(values)


def _is_silent(x: torch.Tensor) -> bool:
    return bool((x - x.mean()).abs().max() <= SILENCE)


def _installed(package: str) -> Any:
    """Import a package that may be missing, since building it needs a C compiler."""
    try:
        return import_module(package)
    except ImportError as error:
        raise UndefinedScore(f"the package {package!r} is not installed here") from error


def pesq_wb(reference: Side, estimate: Side) -> float:
    """Compute wide-band PESQ [4]_, as MOS-LQO."""
    ref, est = as_pair(reference, estimate)
    ref.require_sound()
    est.require_sound()
    value = _mean_of_pieces(_pesq_of_piece, (ref.read, est.read), len(ref), PESQ_LONGEST)
    if math.isnan(value):
        raise UndefinedScore("PESQ gave no number: the estimate is silent there")
    return value


def _pesq_of_piece(ref: torch.Tensor, est: torch.Tensor) -> float:
    package = _installed("pesq")
    codes, value = package.PesqError, package.PesqError.NO_UTTERANCES_DETECTED
    if not _is_silent(ref):
        samples = ref.numpy(), est.numpy()
        value = package.pesq(SAMPLE_RATE, *samples, "wb", on_error=codes.RETURN_VALUES)
    if value == codes.BUFFER_TOO_SHORT:
        raise UndefinedScore("PESQ needs a quarter of a second at least")
    if value == codes.NO_UTTERANCES_DETECTED:
        raise UndefinedScore("PESQ found no utterance (0.2 s of steady activity) in the reference")
    return float(value)


def stoi(reference: Side, estimate: Side, extended: bool = False) -> float:
    """Compute the short-time objective intelligibility [5]_, about 0..1."""
    ref, est = as_pair(reference, estimate)
    ref.require_sound()
    score = partial(_stoi_of_piece, extended=extended)
    return _mean_of_pieces(score, (ref.read, est.read), len(ref), STOI_LONGEST)


def estoi(reference: Side, estimate: Side) -> float:
    """Compute the extended short-time objective intelligibility [5]_, about 0..1."""
    return stoi(reference, estimate, extended=True)


def _stoi_of_piece(ref: torch.Tensor, est: torch.Tensor, extended: bool) -> float:
    from pystoi import stoi

    if len(ref) < STOI_SHORTEST or _is_silent(ref):
        raise UndefinedScore(_TOO_SHORT)
    # pystoi adds very weak noise from numpy's global generator: seeded, so that equal signals give
    # equal scores, and restored, so that the caller's random numbers do not change
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)  # pystoi warns and returns 1e-5
            value = float(stoi(ref.numpy(), est.numpy(), SAMPLE_RATE, extended=extended))
    except RuntimeWarning as warning:
        reason = _TOO_SHORT if "Not enough" in str(warning) else f"pystoi: {warning}"
        raise UndefinedScore(reason) from warning
    finally:
        np.random.set_state(state)  # noqa: NPY002
    # ESTOI of silence would be the score of that noise
    return 0.0 if _is_silent(est) else value


def visqol(reference: Side, estimate: Side) -> float:
    """Compute ViSQOL in audio mode [6]_, as MOS-LQO, with one gain, resampled to its 48 kHz.

    Slow: a fifth of a second per second; the first call compiles for about 10 s.
    """
    # ViSQOL gives the highest score for a silent reference, and nearly that for a quiet recording
    # (its noise floor is absolute), so the reference is scaled to the standard level first
    ref, est = as_pair(reference, estimate)
    readers = one_gain(ref, est)
    est.require_sound()
    value = _mean_of_pieces(_visqol_of_piece, readers, len(ref), VISQOL_LONGEST)
    if math.isnan(value):
        raise UndefinedScore("ViSQOL gave no number: a band of a signal is empty")
    return value


def _visqol_of_piece(ref: torch.Tensor, est: torch.Tensor) -> float:
    api = _visqol_api()
    if _is_silent(ref):
        raise UndefinedScore("every piece of the reference is silent (or constant)")
    pair = [resample(x, SAMPLE_RATE, 48000) for x in (ref, est)]
    threads = torch.get_num_threads()
    try:
        value = float(api.measure_from_arrays(*pair, 48000).moslqo)
    except ValueError as error:  # shorter than a patch: about a second
        raise UndefinedScore(f"the clip is too short for ViSQOL: {error}") from error
    finally:
        # ViSQOL starts numba's threads, and numba then sets OpenMP's number of threads to its
        # own. Torch uses that number, and sums over another number of threads round differently.
        torch.set_num_threads(threads)
    # the last digits vary from call to call (1e-14), the ninth decimal does not
    return round(value, 9)


@lru_cache(maxsize=1)
def _visqol_api() -> Any:
    api = _installed("visqol").VisqolApi()
    api.create(mode="audio")
    return api


def dnsmos(reference: Side, estimate: Side) -> float:
    """Compute the overall score of DNSMOS P.835 [7]_, 1..5, of the estimate without the reference.

    The mean over windows of 9 s, which a shorter clip fills by repetition; clipped at -1 and 1.
    """
    _, est = as_pair(reference, estimate)
    est.require_sound()
    _installed("onnxruntime")  # which speechmos does not install
    sound = est.read(0, len(est)).clamp(-1, 1).float().numpy()
    return float(_installed("speechmos.dnsmos").run(sound, SAMPLE_RATE)["ovrl_mos"])
