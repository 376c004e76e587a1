"""How much sound is in a mel: made from it alone, or with help that only the original can give.

Samples are ``[N]`` at the front-end's level (peak 0.5, see ``normalize_level``), STFT magnitudes
``[T, 513]``. Everything is scored against the original. The pictures are in
:mod:`vaerecon.lab.nb01_mel_analysis.plots`.

Notebook: ``01_mel_analysis``. The algorithms and their references: :mod:`vaerecon.phase.retrieval`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from vaerecon import metrics
from vaerecon.audio.samples import ArrayLike, as_samples
from vaerecon.lab.nb01_mel_analysis.front_ends import settings
from vaerecon.mel.config import AUDIOLDM_MEL, MelConfig
from vaerecon.mel.front_end import log_mel, stft_frames
from vaerecon.metrics.spectral import LSD_FLOOR
from vaerecon.phase import references
from vaerecon.phase import retrieval as phase

if TYPE_CHECKING:
    import pandas as pd

SCORES = ("snr_db", "lsd_db", "mrstft", "estoi", "pesq_wb")  # of the table of recoveries
# one setting at a time; AudioLDM2's value is in each list
SWEEPS: dict[str, tuple[float, ...]] = {
    "n_mels": (16, 32, 64, 128, 256),  # bins
    "n_fft": (256, 512, 1024, 2048),  # samples
    "hop_length": (80, 160, 320, 512),  # samples
    "fmax": (2000.0, 4000.0, 6000.0, 8000.0),  # Hz
}


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
    ``griffinlim``, the mel alone; ``oracle_phase``, the mel and the true phases, a ceiling;
    ``oracle_magnitude``, the true magnitudes without phases, a reference.
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
        "oracle_phase": references.oracle_phase(mel, samples),
        "oracle_magnitude": references.oracle_magnitude(
            samples, n_iter=n_iter, generator=generator()
        ),
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
    one, other = (20 * x.clamp_min(LSD_FLOOR).log10() for x in (original, estimate))
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
