"""What can be told of a vocoder's input before, and right after, it is fed.

:func:`vaerecon.mel.front_end.check_log_mel` refuses a wrong layout. :func:`check_vocoder_input`
refuses nothing and looks further: at the dtype, the scale, the frame grid and the length.
:func:`loop_error` asks the vocoder itself. Neither can prove an input right: for that, compare the
sound with the original.

Notebook: ``03_vocoder_dimension_fix``.
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

MARGIN = 1.0  # nepers; how far a VAE may overshoot what is possible before it counts as wrong


@dataclass(frozen=True)
class PossibleRange:
    """What the log-mel of samples between -0.5 and 0.5 can be at all, in nepers."""

    lowest: float  # the floor
    highest: float  # no bin can be louder
    highest_mean: float  # no frame can be louder, on average over its bins


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
    mel: torch.Tensor,
    vocoder: Any,
    n_samples: int | None = None,
    config: MelConfig = AUDIOLDM_MEL,
) -> pd.DataFrame:
    """Everything that can be told of a vocoder's input without listening.

    Parameters
    ----------
    mel
        ``[T, M]`` or ``[B, T, M]``: what is about to be given to the model, right or wrong.
    vocoder
        Transformers ``SpeechT5HifiGan``.
    n_samples
        Length of the clip that the mel was computed from; checks the frame grid.
    config
        The front-end that the vocoder was trained with.

    Returns
    -------
    DataFrame
        A row an item: found, expected, verdict and fix. The verdict is ``"ok"``, ``"wrong"``,
        ``"cannot tell"`` (a square) or ``"to cut"`` (the output will be too long). Only
        ``"wrong"`` is certain: a mel in log10 instead of nepers, for example, passes.
    """
    bins, shape, values = vocoder.config.model_in_dim, list(mel.shape), mel.double()
    low, high, mean = float(values.min()), float(values.max()), float(values.mean())
    possible, rows = possible_range(config), []

    def item(
        name: str, found: object, expected: object, ok: bool, fix: str, otherwise: str = "wrong"
    ) -> None:
        text = f"{found:.2f}" if isinstance(found, float) else str(found)
        rows.append((name, text, str(expected), *(("ok", "") if ok else (otherwise, fix))))

    fits = len(shape) in (2, 3) and shape[-1] == bins
    if fits and shape[-2] == bins:
        fix = "a square: follow its axes back to where the mel was made"
        item("layout", shape, f"[.., T, {bins}]", False, fix, "cannot tell")
    else:
        fix = "transpose where the mel is made, not only here"
        item("layout", shape, f"[.., T, {bins}]", fits, fix)
    item("dtype", mel.dtype, vocoder.dtype, mel.dtype == vocoder.dtype, "mel.to(vocoder.dtype)")
    finite = bool(values.isfinite().all())
    item("finite", finite, True, finite, "clean the samples first")
    limit, fix = possible.lowest, "natural log of magnitude: no decibels, no power"
    item("lowest value", low, f"at least {limit:.2f}", low >= limit - MARGIN, fix)
    limit, fix = possible.highest, "scale the samples to a peak of 0.5; magnitude, not power"
    item("highest value", high, f"at most {limit:.2f}", high <= limit + MARGIN, fix)
    limit, fix = possible.highest_mean, "nepers as they are: no min-max, no mean and deviation"
    item("mean value", mean, f"at most {limit:.2f}", mean <= limit, fix)
    if fits and n_samples is not None:
        frames, fix = config.n_frames(n_samples), "center=False, (n_fft - hop) / 2 at each end"
        item("frames", shape[-2], frames, shape[-2] == frames, fix)
    if fits:
        hop, made = math.prod(vocoder.config.upsample_rates), n_samples_out(vocoder, shape[-2])
        wanted = hop * shape[-2]
        fix = "take the lag off the front, then cut to length"
        item("samples out", made, wanted, made == wanted, fix, "to cut")
    columns = ["item", "found", "expected", "verdict", "fix"]
    return pd.DataFrame(rows, columns=columns).set_index("item")


def loop_error(vocoder: Any, mel: torch.Tensor, lag: int = 0) -> float:
    """Mean absolute difference of a log-mel and the log-mel of the sound made of it, in nepers.

    Needs no original. Large for a mel that no sound has, whatever is wrong with it; small for one
    that some sound has, be it the wrong sound: a mel in log10 closes the loop.

    Parameters
    ----------
    mel
        ``[T, 64]``, as for :func:`vaerecon.models.vocoder.vocode`, which takes ``lag`` off.
    """
    heard = log_mel(vocode(vocoder, mel, lag=lag), normalize=False)
    return float((heard - mel.to(heard.device)).abs().mean())
