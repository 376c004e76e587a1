"""Log-mel front-ends for ``01_mel_analysis``: settings, and the distance to the model's.

Log-mels are ``[T, M]`` in nepers. The tutorials' front-end is librosa's ``melspectrogram`` and
``power_to_db`` (McFee et al., SciPy 2015).
"""

import math
import warnings
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from vaerecon.audio.samples import ArrayLike, as_samples, normalize_level
from vaerecon.mel.config import AUDIOLDM_MEL, Framing, MelConfig
from vaerecon.mel.filters import mel_filters
from vaerecon.mel.front_end import log_mel, stft_frames

NEPER_DB = 20 / math.log(10)  # dB in a neper, 8.686


def settings(**changes: Any) -> MelConfig:
    """AudioLDM2's front-end with some fields changed; the window is as long as ``n_fft``."""
    return replace(AUDIOLDM_MEL, win_length=changes.get("n_fft", AUDIOLDM_MEL.n_fft), **changes)


def filter_edges(config: MelConfig = AUDIOLDM_MEL) -> np.ndarray:
    """Band edges of the filters, ``[n_mels + 2]`` Hz: filter i spans entries i to i + 2."""
    from librosa import mel_frequencies

    return mel_frequencies(config.n_mels + 2, fmin=config.fmin, fmax=config.fmax)


def empty_filters(config: MelConfig = AUDIOLDM_MEL) -> int:
    """The number of mel filters between two STFT bins, with all weights zero."""
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # librosa says the same
        filters = mel_filters(config, "cpu")  # as log_mel asks for it: the warning comes once
    return int((filters.amax(dim=0) == 0).sum())


# arguments of log_mel_with: those of naive_log_mel
NAIVE: dict[str, Any] = {"level": False, "framing": "inference", "padding": "constant", "power": 2,
                         "relative": True, "decibels": True, "top_db": 80.0,
                         "unit_range": True}  # fmt: skip
ONE_AT_A_TIME: dict[str, dict[str, Any]] = {
    "level as recorded": {"level": False},
    "relative to the loudest value": {"relative": True},
    "decibels": {"decibels": True},
    "scaled to 0..1": {"unit_range": True},
    "zeros beyond the ends": {"padding": "constant"},
    "frames half a hop earlier": {"framing": "inference"},
    "decibels, 80 dB of range": {"decibels": True, "top_db": 80.0},
    "power 2 before the sum": {"power": 2},
    "the tutorial's: all of these": NAIVE,
    "HTK filters instead": {"filters": "htk"},
}


def log_mel_with(
    samples: ArrayLike, *,
    level: bool = True,  # remove the mean, scale the peak to 0.5
    framing: Framing = "train",  # "inference": librosa's centring, half a hop earlier
    padding: Literal["reflect", "constant"] = "reflect",  # "constant": zeros beyond the ends
    power: int = 1,  # of the magnitude, before the filters sum it up
    filters: Literal["slaney", "htk"] = "slaney",  # "htk": torchaudio's, not normalised by area
    relative: bool = False,  # to the clip's loudest value
    decibels: bool = False,  # instead of nepers
    top_db: float | None = None,  # dB below the loudest value where the picture ends
    unit_range: bool = False,  # minimum to 0, maximum to 1, clip by clip
) -> torch.Tensor:  # fmt: skip
    """The log-mel ``[T, 64]`` of ``samples [N]`` by some choices; the defaults are AudioLDM2's."""
    from librosa.filters import mel as librosa_filters

    config = AUDIOLDM_MEL
    x = normalize_level(samples)[0] if level else as_samples(samples)
    # some hops of zeros at each end, so that no frame of the clip is padded by reflection
    extra = math.ceil(config.n_fft / config.hop_length) if padding == "constant" else 0
    extended = F.pad(x, (extra * config.hop_length, extra * config.hop_length))
    frames = stft_frames(extended, config, framing)
    # librosa has no frame whose centre lies beyond the last sample
    centred = framing == "inference"
    n_frames = len(x) // config.hop_length + 1 if centred else config.n_frames(len(x))
    frames = frames[extra : extra + n_frames]
    weights = mel_filters(config)
    if filters == "htk":
        rate, bins = config.sample_rate, config.n_mels
        htk = librosa_filters(sr=rate, n_fft=config.n_fft, n_mels=bins, htk=True, norm=None)
        weights = torch.from_numpy(htk.T.copy())  # librosa's [n_mels, 513] -> [513, n_mels]
    mel = frames.abs() ** power @ weights
    if relative:
        mel = mel / mel.max().clamp_min(config.floor**power)
    mel = mel.clamp_min(config.floor**power).log()  # nepers, or twice as many for power
    if decibels:
        mel = mel * NEPER_DB / power
    if top_db is not None:
        mel = mel.clamp_min(mel.max() - top_db / (1 if decibels else NEPER_DB))
    if unit_range:
        span = mel.max() - mel.min()
        mel = (mel - mel.min()) / torch.where(span > 0, span, torch.ones_like(span))
    return mel


@dataclass(frozen=True)
class AffineMap:
    """``slope * source + offset``, the least-squares fit to a target, and its residual."""

    slope: float
    offset: float  # in the unit of the target
    residual: float  # mean absolute difference that is left, in the unit of the target

    def __call__(self, source: torch.Tensor) -> torch.Tensor:
        return self.slope * source + self.offset


def best_affine_map(source: torch.Tensor, target: torch.Tensor) -> AffineMap:
    """The affine map that brings ``source`` nearest to ``target`` (same shape)."""
    x, y = source.double().flatten(), target.double().flatten()
    around = x - x.mean()
    variance = float(around.square().sum())
    slope = float((around * (y - y.mean())).sum()) / variance if variance > 0 else 0.0
    offset = float(y.mean()) - slope * float(x.mean())
    return AffineMap(slope, offset, float((y - slope * x - offset).abs().mean()))


def compare_choices(samples: ArrayLike) -> pd.DataFrame:
    """Distance to the model's log-mel for each of :data:`ONE_AT_A_TIME`, one row each.

    Columns: the mean absolute difference of the values as they are (each in its own unit, which a
    model does not see), and after the best affine map (a change of unit), in nepers and in dB.
    """
    model = log_mel(samples)
    rows = {}
    for label, choice in ONE_AT_A_TIME.items():
        other = log_mel_with(samples, **choice)[: len(model)]  # centred framing has one frame more
        left = best_affine_map(other, model).residual
        rows[label] = (float((other - model).abs().mean()), left, left * NEPER_DB)
    columns = ["as it is", "after the best affine map (nepers)", "the same (dB)"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)
