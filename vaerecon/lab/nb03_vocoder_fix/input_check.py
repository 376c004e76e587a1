"""Checks of a vocoder's input, before and after it is used.

:func:`vaerecon.mel.front_end.check_log_mel` raises for a wrong layout. :func:`check_vocoder_input`
reports more and raises nothing. :func:`loop_error` uses the vocoder. None can prove that an input
is right: for that, compare the sound with the original. Notebook: ``03_vocoder_dimension_fix``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch

from vaerecon.audio.samples import PEAK
from vaerecon.mel.config import AUDIOLDM_MEL, MelConfig
from vaerecon.mel.filters import mel_filters
from vaerecon.mel.front_end import hann_window, log_mel
from vaerecon.models.vocoder import n_samples_out, vocode

MARGIN = 1.0  # nepers by which a VAE's output may exceed the possible range
FIXES = {
    "layout": "transpose where the mel is made; a square: follow its axes back to there",
    "dtype": "mel.to(vocoder.dtype)",
    "finite": "clean the samples first",
    "lowest value": "natural log of magnitude: no decibels, no power",
    "highest value": "scale the samples to a peak of 0.5; magnitude, not power",
    "mean value": "nepers as they are: no min-max, no mean and deviation",
    "frames": "center=False, (n_fft - hop) / 2 at each end",
    "samples out": "take the lag off the front, then cut to length",
}


@dataclass(frozen=True)
class PossibleRange:
    """Possible range of the log-mel of samples between -0.5 and 0.5, nepers."""

    lowest: float  # the floor
    highest: float  # of any bin
    highest_mean: float  # of any frame, over its bins


def possible_range(config: MelConfig = AUDIOLDM_MEL) -> PossibleRange:
    """Bounds that hold for every sound at peak 0.5, from the window and the filters alone.

    Parseval's theorem bounds the energy of a frame's spectrum, the Cauchy-Schwarz inequality what
    a filter can take of it, and Jensen's inequality the mean of the logarithms.
    """
    filters = mel_filters(config).double()  # [513, 64]; nothing passes at 0 Hz and at 8 kHz
    energy = PEAK**2 * float(hann_window(config).double().square().sum())  # of a windowed frame
    spectrum = math.sqrt(config.n_fft * energy / 2)  # norm of the bins between 0 Hz and 8 kHz
    loudest = float(filters.norm(dim=0).max()) * spectrum
    mean = float(filters.mean(dim=1).norm()) * spectrum
    return PossibleRange(config.log_floor, math.log(loudest), math.log(mean + config.floor))


def check_vocoder_input(
    mel: torch.Tensor, vocoder: Any, n_samples: int | None = None, config: MelConfig = AUDIOLDM_MEL
) -> pd.DataFrame:
    """Check layout, dtype, scale, frame grid and length of a vocoder's input.

    Parameters
    ----------
    mel
        ``[T, M]`` or ``[B, T, M]``: the input of the model, right or wrong.
    vocoder
        Transformers ``SpeechT5HifiGan``.
    n_samples
        Length of the clip that the mel was computed from; checks the frame grid.
    config
        The front-end that the vocoder was trained with.

    Returns
    -------
    DataFrame
        One row per item: found, expected, result and fix. The result is ``"ok"``, ``"wrong"``,
        ``"unknown"`` (a square) or ``"to cut"`` (the output will be too long). Only ``"wrong"`` is
        certain: a mel in log10 instead of nepers, for example, passes.
    """
    bins, shape = vocoder.config.model_in_dim, list(mel.shape)
    fits, square = len(shape) in (2, 3) and shape[-1] == bins, shape[-2:] == [bins, bins]
    layout_ok, unclear = fits and not square, "unknown" if fits and square else "wrong"
    rows = [_row("layout", shape, f"[.., T, {bins}]", layout_ok, unclear)]
    rows.append(_row("dtype", mel.dtype, vocoder.dtype, mel.dtype == vocoder.dtype))
    rows += _scale_rows(mel.double(), possible_range(config))
    if fits and n_samples is not None:
        frames = config.n_frames(n_samples)
        rows.append(_row("frames", shape[-2], frames, shape[-2] == frames))
    if fits:
        wanted = math.prod(vocoder.config.upsample_rates) * shape[-2]
        made = n_samples_out(vocoder, shape[-2])
        rows.append(_row("samples out", made, wanted, made == wanted, "to cut"))
    columns = ["item", "found", "expected", "result", "fix"]
    return pd.DataFrame(rows, columns=columns).set_index("item")


def _row(
    name: str, found: object, expected: object, ok: bool, otherwise: str = "wrong"
) -> tuple[str, ...]:
    text = f"{found:.2f}" if isinstance(found, float) else str(found)
    return name, text, str(expected), "ok" if ok else otherwise, "" if ok else FIXES[name]


def _scale_rows(values: torch.Tensor, possible: PossibleRange) -> list[tuple[str, ...]]:
    finite, least = bool(values.isfinite().all()), possible.lowest
    low, high, mean = float(values.min()), float(values.max()), float(values.mean())
    most, most_mean = possible.highest, possible.highest_mean
    return [
        _row("finite", finite, True, finite),
        _row("lowest value", low, f"at least {least:.2f}", low >= least - MARGIN),
        _row("highest value", high, f"at most {most:.2f}", high <= most + MARGIN),
        _row("mean value", mean, f"at most {most_mean:.2f}", mean <= most_mean),
    ]


def loop_error(vocoder: Any, mel: torch.Tensor, lag: int = 0) -> float:
    """Mean absolute difference of a log-mel ``[T, 64]`` and the log-mel of its sound, nepers.

    Needs no original. Large for a mel that no sound has; small for the mel of a wrong sound, such
    as one in log10. ``lag`` as in :func:`vaerecon.models.vocoder.vocode`.
    """
    heard = log_mel(vocode(vocoder, mel, lag=lag), normalize=False)
    return float((heard - mel.to(heard.device)).abs().mean())
