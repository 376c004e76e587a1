"""Checks of a vocoder's input, before and after it is used.

:func:`vaerecon.mel.front_end.check_log_mel` raises for a wrong layout. :func:`check_vocoder_input`
reports more and raises nothing. :func:`loop_error` uses the vocoder. None can prove that an input
is right: for that, compare the sound with the original. Notebook: ``03_vocoder_dimension_fix``.
"""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import torch

from vaerecon.mel.config import AUDIOLDM_MEL, MelConfig
from vaerecon.mel.diagnosis import diagnose_mel
from vaerecon.mel.front_end import log_mel
from vaerecon.models.vocoder import n_samples_out, vocode

FIXES = {
    "layout": "transpose where the mel is made; a square: follow its axes back to there",
    "dtype": "mel.to(vocoder.dtype)",
    "frames": "center=False, (n_fft - hop) / 2 at each end",
    "samples out": "take the lag off the front, then cut to length",
}


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
        certain: a mel in log10 instead of nepers, for example, passes where nothing is silent. The
        scale is checked by :func:`vaerecon.diagnose_mel`.
    """
    bins, shape = vocoder.config.model_in_dim, list(mel.shape)
    fits, square = len(shape) in (2, 3) and shape[-1] == bins, shape[-2:] == [bins, bins]
    layout_ok, unclear = fits and not square, "unknown" if fits and square else "wrong"
    rows = [_row("layout", shape, f"[.., T, {bins}]", layout_ok, unclear)]
    rows.append(_row("dtype", mel.dtype, vocoder.dtype, mel.dtype == vocoder.dtype))
    found = [each for each in diagnose_mel(mel, config) if each.kind != "layout"]
    named = ", ".join(each.kind for each in found)
    fixes = "; ".join(each.fix for each in found)
    rows.append(("scale", named or "-", "no finding", "wrong" if found else "ok", fixes))
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


def loop_error(vocoder: Any, mel: torch.Tensor, lag: int = 0) -> float:
    """Mean absolute difference of a log-mel ``[T, 64]`` and the log-mel of its sound, nepers.

    Needs no original. Large for a mel that no sound has; small for the mel of a wrong sound, such
    as one in log10. ``lag`` as in :func:`vaerecon.models.vocoder.vocode`.
    """
    heard = log_mel(vocode(vocoder, mel, lag=lag), normalize=False)
    return float((heard - mel.to(heard.device)).abs().mean())
