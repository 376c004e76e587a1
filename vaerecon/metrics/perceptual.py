"""PESQ, STOI, ViSQOL and DNSMOS: published models of what people hear, for clips of any length.

Each is made for a clip of some seconds. A longer one is cut into equal pieces, and the score is the
mean over those in which the reference can be scored; the limits stand beside each function.

References: see :mod:`vaerecon.metrics`.
"""

from __future__ import annotations

import math
import warnings
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np
import torch

from vaerecon.audio.samples import SILENCE
from vaerecon.metrics.signals import (
    SAMPLE_RATE,
    Side,
    UndefinedScore,
    as_pair,
    one_gain,
    pieces_of,
    resample,
)

PESQ_LONGEST = 15 * SAMPLE_RATE  # samples; the C code has room for 50 utterances of >= 0.38 s
STOI_SHORTEST = 6144  # samples; 30 frames with a hop of 128 at pystoi's 10 kHz, in 16 kHz
STOI_LONGEST = 30 * SAMPLE_RATE  # samples; memory, and "within 40 dB of the loudest" of a passage
_TOO_SHORT = "less than 0.41 s of the reference is within 40 dB of its loudest frame"
VISQOL_LONGEST = 30 * SAMPLE_RATE  # samples; its time grows with the square, its memory too


def pesq_wb(reference: Side, estimate: Side) -> float:
    """PESQ, wide band [4]_, as MOS-LQO.

    A clip over 15 s gets the mean over its equal pieces of at most that, those without an
    utterance left out: PESQ is made for single utterances, and with more than 50 of them (25 s of
    syllables suffice) the C code writes past its arrays and ends the process.
    """
    ref, est = as_pair(reference, estimate)
    ref.require_sound()
    est.require_sound()
    package = _installed("pesq")
    pesq, PesqError = package.pesq, package.PesqError
    values = []
    for start, stop in pieces_of(len(ref), PESQ_LONGEST):
        one, other = ref.read(start, stop), est.read(start, stop)
        if _is_silent(one):
            continue
        value = pesq(
            SAMPLE_RATE, one.numpy(), other.numpy(), "wb", on_error=PesqError.RETURN_VALUES
        )
        if value == PesqError.BUFFER_TOO_SHORT:
            raise UndefinedScore("PESQ needs a quarter of a second at least")
        if math.isnan(value):
            raise UndefinedScore("PESQ gave no number: the estimate is silent there")
        if value != PesqError.NO_UTTERANCES_DETECTED:
            values.append(float(value))
    if not values:
        raise UndefinedScore("PESQ found no utterance (0.2 s of steady activity) in the reference")
    return sum(values) / len(values)


def _is_silent(x: torch.Tensor) -> bool:
    return bool((x - x.mean()).abs().max() <= SILENCE)


def stoi(reference: Side, estimate: Side) -> float:
    """Short-time objective intelligibility [5]_, about 0..1.

    A clip over 30 s gets the mean over its equal pieces of at most that, those without enough sound
    left out; "frames within 40 dB of the loudest", which STOI looks at, are then those of a piece.
    """
    return _stoi(reference, estimate, extended=False)


def estoi(reference: Side, estimate: Side) -> float:
    """Extended short-time objective intelligibility [5]_, about 0..1; pieces as :func:`stoi`."""
    return _stoi(reference, estimate, extended=True)


def _stoi(reference: Side, estimate: Side, extended: bool) -> float:
    ref, est = as_pair(reference, estimate)
    ref.require_sound()
    values, reason = [], UndefinedScore(_TOO_SHORT)
    for start, stop in pieces_of(len(ref), STOI_LONGEST):
        try:
            values.append(_stoi_of_piece(ref.read(start, stop), est.read(start, stop), extended))
        except UndefinedScore as error:
            reason = error
    if not values:
        raise reason
    return sum(values) / len(values)


def _stoi_of_piece(ref: torch.Tensor, est: torch.Tensor, extended: bool) -> float:
    from pystoi import stoi

    if len(ref) < STOI_SHORTEST or _is_silent(ref):
        raise UndefinedScore(_TOO_SHORT)
    # pystoi adds a trace of noise from numpy's global generator: fixed, so that the same signals
    # give the same number, and put back, so that the caller's random numbers stay as they were
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
    # ESTOI of silence would be the score of that trace of noise
    return 0.0 if _is_silent(est) else value


def _installed(package: str) -> Any:
    """Import a package that is not there on every machine: its wheels need a C compiler."""
    try:
        return import_module(package)
    except ImportError as error:
        raise UndefinedScore(f"the package {package!r} is not installed here") from error


@lru_cache(maxsize=1)
def _visqol_api() -> Any:
    api = _installed("visqol").VisqolApi()
    api.create(mode="audio")
    return api


def visqol(reference: Side, estimate: Side) -> float:
    """ViSQOL in audio mode [6]_, as MOS-LQO, at one gain and resampled to the 48 kHz it needs.

    Slow: a fifth of a second for each second; the very first call compiles for about 10 s. A clip
    over 30 s gets the mean over its equal pieces of at most that, those with a silent reference
    left out.
    """
    # ViSQOL gives full marks for a silent reference, and near-full ones for a faint recording
    # (its noise floor is absolute), so the reference is brought to the level of all clips first
    ref, est = as_pair(reference, estimate)
    readers = one_gain(ref, est)
    est.require_sound()
    values = []
    pieces = pieces_of(len(ref), VISQOL_LONGEST)
    for start, stop in pieces:
        one, other = (read(start, stop) for read in readers)
        if len(pieces) > 1 and _is_silent(one):
            continue
        pair = [resample(x, SAMPLE_RATE, 48000) for x in (one, other)]
        threads = torch.get_num_threads()
        try:
            value = float(_visqol_api().measure_from_arrays(*pair, 48000).moslqo)
        except ValueError as error:  # shorter than a patch: about a second
            raise UndefinedScore(f"the clip is too short for ViSQOL: {error}") from error
        finally:
            # ViSQOL starts numba's threads, and numba then sets OpenMP's number of threads to its
            # own. Torch computes with that number, and sums over other threads round differently.
            torch.set_num_threads(threads)
        if math.isnan(value):
            raise UndefinedScore("ViSQOL gave no number: a band of a signal is empty")
        # the package's last digits change from call to call (1e-14), the ninth decimal does not
        values.append(round(value, 9))
    if not values:
        raise UndefinedScore("every piece of the reference is silent (or constant)")
    return sum(values) / len(values)


def dnsmos(reference: Side, estimate: Side) -> float:
    """DNSMOS P.835 [7]_, the overall score of the estimate, 1..5; the reference is not looked at.

    The mean over windows of 9 s, which a shorter clip fills by repetition; cut off at -1 and 1.
    """
    _, est = as_pair(reference, estimate)
    est.require_sound()
    _installed("onnxruntime")  # which speechmos does not bring along
    sound = est.read(0, len(est)).clamp(-1, 1).float().numpy()
    return float(_installed("speechmos.dnsmos").run(sound, SAMPLE_RATE)["ovrl_mos"])
