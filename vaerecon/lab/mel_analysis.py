"""What a log-mel keeps of a sound: front-ends compared, choices varied, sound recovered.

Every function takes samples ``[N]`` and returns tensors, floats or a pandas table; the pictures are
in :mod:`vaerecon.lab.mel_plots`. Log-mels are ``[T, M]`` in nepers, STFT magnitudes ``[T, 513]``.

The first half asks how far another front-end is from the model's. A model cannot know in which unit
a number came, so two distances count: that of the values as they are, and what is left after the
affine map (one slope, one offset) that fits best. Only the first is cured by a change of unit.

The second half asks how much sound is in a mel: it makes sound from the mel alone, or from the mel
and one thing that only the original can tell (a ceiling), and scores it against the original.

Notebook: ``01_mel_analysis``.

References
----------
.. [1] B. McFee et al., "librosa: Audio and music signal analysis in Python", SciPy 2015: the
   front-end of the tutorials, ``librosa.feature.melspectrogram`` and ``power_to_db``.
.. [2] D. Griffin and J. Lim, IEEE Trans. ASSP 1984, and N. Perraudin et al., WASPAA 2013: see
   :mod:`vaerecon.phase`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F

from vaerecon import metrics, phase
from vaerecon.mel import (
    AUDIOLDM_MEL,
    ArrayLike,
    Framing,
    MelConfig,
    as_samples,
    log_mel,
    mel_filters,
    normalize_level,
    stft_frames,
)

if TYPE_CHECKING:
    import pandas as pd

NEPER_DB = 20 / math.log(10)  # dB in a neper, 8.686
SCORES = ("snr_db", "lsd_db", "mrstft", "estoi", "pesq_wb")  # of the table of ceilings
# one setting at a time; AudioLDM2's value is in each list
SWEEPS: dict[str, tuple[float, ...]] = {
    "n_mels": (16, 32, 64, 128, 256),  # bins
    "n_fft": (256, 512, 1024, 2048),  # samples
    "hop_length": (80, 160, 320, 512),  # samples
    "fmax": (2000.0, 4000.0, 6000.0, 8000.0),  # Hz
}


# ------------------------------------------------------------------ settings and sizes


def settings(**changes: Any) -> MelConfig:
    """AudioLDM2's front-end with some fields changed; the window is as long as ``n_fft``.

    Raises
    ------
    ValueError
        If a value is impossible, or the hop leaves samples out that no window covers.
    """
    if "n_fft" in changes:
        changes.setdefault("win_length", changes["n_fft"])
    config = replace(AUDIOLDM_MEL, **changes)
    if min(config.n_mels, config.n_fft, config.hop_length) < 1:
        raise ValueError(f"settings: got {changes}, expected bins, window and hop of at least 1")
    if config.hop_length >= config.n_fft:
        raise ValueError(
            f"hop_length: got {config.hop_length}, expected less than the window of "
            f"{config.n_fft} samples: what lies between two windows would be lost; "
            "take a shorter hop or a longer window"
        )
    if (config.n_fft - config.hop_length) % 2:
        raise ValueError(
            f"hop_length: got {config.hop_length} with a window of {config.n_fft}, expected an "
            "even difference, which is padded half and half; take an even hop"
        )
    nyquist = config.sample_rate / 2
    if not 0 <= config.fmin < config.fmax <= nyquist:
        raise ValueError(
            f"range: got {config.fmin:g} to {config.fmax:g} Hz, expected an interval within "
            f"0 to {nyquist:g} Hz; move the ends apart"
        )
    return config


def value_counts(config: MelConfig = AUDIOLDM_MEL) -> pd.DataFrame:
    """How many numbers a second of sound is, at each station of the front-end."""
    import pandas as pd

    frames, bins = config.frames_per_second, config.n_fft // 2 + 1
    rows = {
        "waveform": ("samples", float(config.sample_rate)),
        "STFT, complex": (f"{frames:g} frames x {bins} bins x 2", frames * bins * 2),
        "STFT magnitude": (f"{frames:g} frames x {bins} bins", frames * bins),
        "log-mel": (f"{frames:g} frames x {config.n_mels} bins", frames * config.n_mels),
    }
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["layout", "values per second"])
    table["per sample"] = table["values per second"] / config.sample_rate
    return table


def filter_edges(config: MelConfig = AUDIOLDM_MEL) -> np.ndarray:
    """Where the triangles begin, peak and end, ``[n_mels + 2]`` Hz: filter i spans i to i + 2."""
    from librosa import mel_frequencies

    return mel_frequencies(config.n_mels + 2, fmin=config.fmin, fmax=config.fmax)


def empty_filters(config: MelConfig = AUDIOLDM_MEL) -> int:
    """How many mel filters fall between two STFT bins and so see nothing, ever."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # librosa's, which says the same
        filters = mel_filters(config, "cpu")  # as stft_frames asks for it: the warning comes once
    return int((filters.amax(dim=0) == 0).sum())


# ------------------------------------------------------------------ one choice at a time


@dataclass(frozen=True)
class Choices:
    """Where log-mel front-ends differ on one frame grid. The defaults are AudioLDM2's."""

    level: bool = True  # remove the mean, scale the peak to 0.5
    framing: Framing = "train"  # "inference": librosa's centring, half a hop earlier
    padding: Literal["reflect", "constant"] = "reflect"  # "constant": zeros beyond the ends
    power: int = 1  # of the magnitude, before the filters sum it up
    filters: Literal["slaney", "htk"] = "slaney"  # "htk": torchaudio's, not normalised by area
    relative: bool = False  # to the clip's loudest value
    decibels: bool = False  # instead of nepers
    top_db: float | None = None  # dB below the loudest value where the picture ends
    unit_range: bool = False  # minimum to 0, maximum to 1, clip by clip


NAIVE = Choices(
    level=False,
    framing="inference",
    padding="constant",
    power=2,
    relative=True,
    decibels=True,
    top_db=80.0,
    unit_range=True,
)  # what mel.naive_log_mel does, choice by choice
ONE_AT_A_TIME: dict[str, Choices] = {
    "level as recorded": Choices(level=False),
    "relative to the loudest value": Choices(relative=True),
    "decibels": Choices(decibels=True),
    "scaled to 0..1": Choices(unit_range=True),
    "zeros beyond the ends": Choices(padding="constant"),
    "frames half a hop earlier": Choices(framing="inference"),
    "decibels, 80 dB of range": Choices(decibels=True, top_db=80.0),
    "power 2 before the sum": Choices(power=2),
    "the tutorial's: all of these": NAIVE,
    "HTK filters instead": Choices(filters="htk"),
}


def log_mel_with(samples: ArrayLike, choices: Choices = Choices()) -> torch.Tensor:
    """The log-mel of ``samples [N]`` with other choices than the model's, ``[T, 64]``.

    ``Choices()`` gives :func:`vaerecon.mel.log_mel`, ``NAIVE`` gives
    :func:`vaerecon.mel.naive_log_mel`.
    """
    config = AUDIOLDM_MEL
    x = normalize_level(samples)[0] if choices.level else as_samples(samples)
    # silence of some hops at each end: the frames in between see zeros where the clip has ended
    extra = math.ceil(config.n_fft / config.hop_length) if choices.padding == "constant" else 0
    extended = F.pad(x, (extra * config.hop_length, extra * config.hop_length))
    frames = stft_frames(extended, config, choices.framing)
    # librosa has no frame whose centre lies beyond the last sample
    centred = choices.framing == "inference"
    n_frames = len(x) // config.hop_length + 1 if centred else config.n_frames(len(x))
    frames = frames[extra : extra + n_frames]
    mel = frames.abs() ** choices.power @ _filters(choices.filters, config)
    if choices.relative:
        mel = mel / mel.max().clamp_min(config.floor**choices.power)
    mel = mel.clamp_min(config.floor**choices.power).log()  # nepers, or twice as many for power
    if choices.decibels:
        mel = mel * NEPER_DB / choices.power
    if choices.top_db is not None:
        mel = mel.clamp_min(mel.max() - choices.top_db / (1 if choices.decibels else NEPER_DB))
    if choices.unit_range:
        span = mel.max() - mel.min()
        mel = (mel - mel.min()) / torch.where(span > 0, span, torch.ones_like(span))
    return mel


def _filters(kind: str, config: MelConfig) -> torch.Tensor:
    if kind == "slaney":
        return mel_filters(config)
    from librosa.filters import mel

    weights = mel(
        sr=config.sample_rate, n_fft=config.n_fft, n_mels=config.n_mels, htk=True, norm=None
    )
    return torch.from_numpy(weights.T.copy())  # librosa's [n_mels, 513] -> [513, n_mels]


@dataclass(frozen=True)
class AffineMap:
    """``slope * source + offset``, the least-squares fit to a target, and what it leaves."""

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


def compare_choices(
    samples: ArrayLike, choices: Mapping[str, Choices] | None = None
) -> pd.DataFrame:
    """How far the log-mel moves from the model's when the choices change, one row each.

    Columns: the mean absolute difference of the values as they are (each in its own unit, which a
    model does not see), and what the best affine map leaves, in nepers and in dB.
    """
    import pandas as pd

    model = log_mel(samples)
    rows = {}
    for label, choice in (ONE_AT_A_TIME if choices is None else choices).items():
        other = log_mel_with(samples, choice)[: len(model)]  # another centring has a frame more
        left = best_affine_map(other, model).residual
        rows[label] = (float((other - model).abs().mean()), left, left * NEPER_DB)
    columns = ["as it is", "after the best affine map (nepers)", "the same (dB)"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


# ------------------------------------------------------------------ what comes back


def recover(
    samples: ArrayLike,
    config: MelConfig = AUDIOLDM_MEL,
    *,
    n_iter: int = 32,
    seed: int = 0,
) -> torch.Tensor:
    """Sound from the log-mel alone, ``[N]``: the mel of normalised ``samples [N]``, and back."""
    mel = log_mel(samples, config, normalize=False)
    return phase.griffin_lim(
        phase.mel_to_magnitude(mel, config),
        len(samples),
        log_mel=mel,
        n_iter=n_iter,
        generator=torch.Generator().manual_seed(seed),
        config=config,
    )


def recoveries(
    samples: torch.Tensor, *, n_iter: int = 32, seed: int = 0
) -> dict[str, torch.Tensor]:
    """Sounds made of different parts of what is known about ``samples [N]``, by name.

    ``silence``, knows nothing; ``random_phase``, the mel's magnitudes with phases drawn at random;
    ``griffinlim``, the mel alone; ``oracle_phase``, the mel and the true phases;
    ``oracle_magnitude``, the true magnitudes without phases.
    """
    mel = log_mel(samples, normalize=False)
    magnitude = phase.mel_to_magnitude(mel)

    def generator() -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    turns = torch.rand(magnitude.shape, generator=generator())
    random = torch.polar(torch.ones_like(magnitude), 2 * math.pi * turns)
    return {
        "silence": torch.zeros_like(samples),
        "random_phase": phase.griffin_lim(magnitude, len(samples), n_iter=0, init=random),
        "griffinlim": recover(samples, n_iter=n_iter, seed=seed),
        "oracle_phase": phase.oracle_phase(mel, samples),
        "oracle_magnitude": phase.oracle_magnitude(samples, n_iter=n_iter, generator=generator()),
    }


def score_recoveries(
    samples: ArrayLike,
    recovered: Mapping[str, ArrayLike],
    names: Sequence[str] = SCORES,
) -> pd.DataFrame:
    """One row a sound: metrics, and how well phase and its advance agree with the original's."""
    import pandas as pd

    rows = {}
    for name, sound in recovered.items():
        scores = dict(metrics.evaluate(samples, sound, metrics=names))
        scores["phase"], scores["phase_advance"] = phase_agreement(samples, sound)
        rows[name] = scores
    return pd.DataFrame.from_dict(rows, orient="index").astype(float)


def phase_agreement(reference: ArrayLike, estimate: ArrayLike) -> tuple[float, float]:
    """How well the STFT phases agree, and how well their advance from frame to frame does.

    Both are the mean cosine of the difference, weighted by the magnitudes: 1 where all agree, 0 for
    phases that know nothing of each other. The advance of a random phase agrees well too (about
    0.8), because windows overlap: most of it is the frequency of the bin itself.

    Returns
    -------
    tuple
        Agreement of the phases, agreement of their advance; NaN where one sound is silent.
    """
    one, other = (stft_frames(as_samples(x)) for x in (reference, estimate))
    steps = tuple(x[1:] * x[:-1].conj() for x in (one, other))  # [T - 1, 513]
    # a product of two frames has the square of the magnitude: take its root as the weight
    steps = tuple(torch.polar(x.abs().sqrt(), x.angle()) for x in steps)
    return _agreement(one, other), _agreement(*steps)


def _agreement(one: torch.Tensor, other: torch.Tensor) -> float:
    weight = float((one.abs() * other.abs()).sum(dtype=torch.float64))
    if weight == 0:
        return math.nan
    return float((one * other.conj()).real.sum(dtype=torch.float64)) / weight


def magnitude_distance_db(original: torch.Tensor, estimate: torch.Tensor) -> float:
    """Log-spectral distance of STFT magnitudes ``[T, 513]``, dB: ``metrics.lsd_db`` without sound.

    For a magnitude that no sound has; both at the front-end's level.
    """
    one, other = (20 * x.clamp_min(metrics.LSD_FLOOR).log10() for x in (original, estimate))
    return float((one - other).square().mean(dim=-1).sqrt().mean())


def loudest_part(samples: ArrayLike, seconds: float = 1.0) -> tuple[float, float]:
    """Start and end, in s, of the part of that length that has the most energy."""
    x, rate = as_samples(samples).double(), AUDIOLDM_MEL.sample_rate
    n = min(len(x), round(seconds * rate))
    energy = F.pad(x.square().cumsum(dim=0), (1, 0))
    start = int((energy[n:] - energy[: len(energy) - n]).argmax())
    return start / rate, (start + n) / rate


def iteration_curve(
    samples: ArrayLike, counts: Sequence[int] = (0, 1, 2, 4, 8, 16, 32), seed: int = 0
) -> pd.DataFrame:
    """MR-STFT distance after so many Griffin-Lim iterations: held to the mel, and without that.

    Without, the magnitudes stay at the first guess that was made from the mel.
    """
    import pandas as pd

    mel = log_mel(samples, normalize=False)
    magnitude = phase.mel_to_magnitude(mel)
    rows = {}
    for count in counts:
        fixed = phase.griffin_lim(
            magnitude,
            len(samples),
            n_iter=count,
            generator=torch.Generator().manual_seed(seed),
        )
        held = recover(samples, n_iter=count, seed=seed)
        rows[count] = [metrics.mrstft(samples, x) for x in (held, fixed)]
    columns = ["held to the mel", "magnitude fixed"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def sweep(
    samples: ArrayLike,
    sweeps: Mapping[str, Sequence[float]] | None = None,
    *,
    n_iter: int = 32,
    seed: int = 0,
) -> pd.DataFrame:
    """Change one setting of the front-end at a time, make sound from that mel, and score it.

    Returns
    -------
    pandas.DataFrame
        One row a setting and value: ``values_per_second`` of the mel, ``mrstft`` (lower is
        better), ``estoi`` (higher is better), and whether it is AudioLDM2's (``default``).
    """
    import pandas as pd

    done: dict[MelConfig, dict[str, Any]] = {}  # the defaults stand in every sweep: compute once
    rows = []
    for field, values in (SWEEPS if sweeps is None else sweeps).items():
        for value in values:
            config = settings(**{field: value})
            if config not in done:
                sound = recover(samples, config, n_iter=n_iter, seed=seed)
                done[config] = dict(metrics.evaluate(samples, sound, metrics=("mrstft", "estoi")))
            rate = config.frames_per_second * config.n_mels
            rows.append(
                {"setting": field, "value": value, "values_per_second": rate}
                | done[config]
                | {"default": config == AUDIOLDM_MEL}
            )
    return pd.DataFrame(rows).astype({"mrstft": float, "estoi": float})
