"""Sound recovered from a mel alone, or with the phase or magnitude of the original.

Samples are ``[N]`` at peak 0.5, STFT magnitudes ``[T, 513]``. Notebook: ``01_mel_analysis``.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F

from vaerecon import metrics
from vaerecon.audio.samples import ArrayLike, as_samples
from vaerecon.comparison.grid import mel_grid, setting_text
from vaerecon.lab.tables import overview_metrics
from vaerecon.mel.config import AUDIOLDM_MEL, MelConfig
from vaerecon.mel.front_end import log_mel, stft_frames
from vaerecon.metrics.spectral import LSD_FLOOR
from vaerecon.phase import references
from vaerecon.phase import retrieval as phase

# one setting at a time
SWEEPS: dict[str, tuple[float, ...]] = {
    "n_mels": (16, 32, 64, 128, 256),  # bins
    "n_fft": (256, 512, 1024, 2048),  # samples
    "hop_length": (80, 160, 320, 512),  # samples
    "fmax": (2000.0, 4000.0, 6000.0, 8000.0),  # Hz
}


def recover(
    samples: ArrayLike, config: MelConfig = AUDIOLDM_MEL, *, n_iter: int = 32, seed: int = 0
) -> torch.Tensor:
    """Sound ``[N]`` from the log-mel of normalised ``samples [N]`` alone, by Griffin-Lim."""
    mel = log_mel(samples, config, normalize=False)
    magnitude = phase.mel_to_magnitude(mel, config)
    how: dict[str, Any] = {"n_iter": n_iter, "generator": torch.Generator().manual_seed(seed)}
    return phase.griffin_lim(magnitude, len(samples), log_mel=mel, config=config, **how)


def recoveries(
    samples: torch.Tensor, *, n_iter: int = 32, seed: int = 0
) -> dict[str, torch.Tensor]:
    """Sounds made with different information about ``samples [N]``, by name.

    ``random_phase`` has the mel's magnitudes; ``oracle_phase`` the mel and the true phases, a
    ceiling; ``oracle_magnitude`` the true magnitudes without phases.
    """
    mel = log_mel(samples, normalize=False)
    magnitude = phase.mel_to_magnitude(mel)
    turns = torch.rand(magnitude.shape, generator=torch.Generator().manual_seed(seed))
    random = torch.polar(torch.ones_like(magnitude), 2 * math.pi * turns)
    return {
        "silence": torch.zeros_like(samples),
        "random_phase": phase.griffin_lim(magnitude, len(samples), n_iter=0, init=random),
        "griffinlim": recover(samples, n_iter=n_iter, seed=seed),
        "oracle_phase": references.oracle_phase(mel, samples),
        "oracle_magnitude": references.oracle_magnitude(
            samples, n_iter=n_iter, generator=torch.Generator().manual_seed(seed)
        ),
    }


def score_recoveries(
    samples: ArrayLike, recovered: Mapping[str, ArrayLike], names: Sequence[str] | None = None
) -> pd.DataFrame:
    """One row per sound: metrics (an overview by default), and :func:`phase_agreement`."""
    names = names or overview_metrics()
    rows = {}
    for name, sound in recovered.items():
        scores = dict(metrics.evaluate(samples, sound, metrics=names))
        scores["phase"], scores["phase_advance"] = phase_agreement(samples, sound)
        rows[name] = scores
    return pd.DataFrame.from_dict(rows, orient="index").astype(float)


def phase_agreement(reference: ArrayLike, estimate: ArrayLike) -> tuple[float, float]:
    """Agreement of the STFT phases, and of their advance from frame to frame.

    Both are the mean cosine of the difference, weighted by the magnitudes: 1 if all agree, 0 for
    independent phases, NaN where one sound is silent. The advance of a random phase agrees too
    (about 0.8), because windows overlap: most of it is the frequency of the bin.
    """

    def agreement(one: torch.Tensor, other: torch.Tensor) -> float:
        weight = (one.abs() * other.abs()).sum(dtype=torch.float64)
        return float((one * other.conj()).real.sum(dtype=torch.float64) / weight)  # 0 / 0 is NaN

    spectra = [stft_frames(as_samples(x)) for x in (reference, estimate)]
    steps = [x[1:] * x[:-1].conj() for x in spectra]  # [T - 1, 513]
    # a product of two frames has the square of the magnitude: take its root as the weight
    steps = [torch.polar(x.abs().sqrt(), x.angle()) for x in steps]
    return agreement(*spectra), agreement(*steps)


def magnitude_distance_db(original: torch.Tensor, estimate: torch.Tensor) -> float:
    """``metrics.lsd_db`` of STFT magnitudes ``[T, 513]``, which no sound need have."""
    one, other = (20 * x.clamp_min(LSD_FLOOR).log10() for x in (original, estimate))
    return float((one - other).square().mean(dim=-1).sqrt().mean())


def loudest_part(samples: ArrayLike, seconds: float = 1.0) -> tuple[float, float]:
    """Start and end, in s, of the segment with the most energy."""
    x, rate = as_samples(samples).double(), AUDIOLDM_MEL.sample_rate
    n = min(len(x), round(seconds * rate))
    energy = F.pad(x.square().cumsum(dim=0), (1, 0))
    start = int((energy[n:] - energy[: len(energy) - n]).argmax())
    return start / rate, (start + n) / rate


def sweep(
    samples: ArrayLike,
    vary: Mapping[str, Sequence[float]] = SWEEPS,
    *,
    n_iter: int = 32,
    seed: int = 0,
) -> pd.DataFrame:
    """Change one setting of the front-end at a time, recover sound from that mel, and score it.

    One row a setting, AudioLDM2's first: ``setting`` in words, the fields of :class:`MelConfig`,
    ``mrstft`` and ``estoi``.
    """
    rows = []
    for config in mel_grid(vary):
        sound = recover(samples, config, n_iter=n_iter, seed=seed)
        scores = metrics.evaluate(samples, sound, metrics=("mrstft", "estoi"))
        rows.append({"setting": setting_text(config), **asdict(config), **scores})
    return pd.DataFrame(rows).astype({"mrstft": float, "estoi": float})


def recovery_text(table: pd.DataFrame) -> str:
    """What SNR says of invented phases, beside silence; Markdown. ``table``: score_recoveries."""
    snr = table["snr_db"].drop("oracle_phase")
    behind = [name for name in snr.index if name != "silence" and snr[name] <= snr["silence"]]
    if behind:
        return f"By SNR, **silence does at least as well as {', '.join(behind)}**."
    return "By SNR, every sound with invented phases is **better than silence** here."


def sweep_text(table: pd.DataFrame, names: Iterable[str] = SWEEPS) -> str:
    """The best value of each setting in a table of :func:`sweep`, by both metrics; Markdown."""
    lines = []
    for name in names:
        varied = table["setting"].str.startswith(f"{name}=") | (table["setting"] == "AudioLDM2")
        rows = table[varied].set_index(name)
        best = f"MR-STFT is best at {rows['mrstft'].idxmin():g}"
        if rows["estoi"].notna().any():
            best += f", ESTOI at {rows['estoi'].idxmax():g}"
        lines.append(f"- `{name}`: {best} (AudioLDM2: {getattr(AUDIOLDM_MEL, name):g}).")
    return "\n".join(lines)
