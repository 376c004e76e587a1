"""The guide's claim that the vocoder takes an 18th of Griffin-Lim's time, beside times taken here.

Notebook: ``04_method_comparison``.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from vaerecon.lab.nb03_vocoder_fix.faults import AUDIOLDM2_SIZES
from vaerecon.lab.nb04_method_comparison.validity import GUIDE
from vaerecon.mel.config import AUDIOLDM_MEL
from vaerecon.methods import METHODS
from vaerecon.models.precision import LARGE
from vaerecon.models.vocoder import vocode

if TYPE_CHECKING:
    import pandas as pd

    from vaerecon.pipeline.result import Reconstruction

GUIDE_SECONDS = 5.0  # s, the length of the guide's clip


def speed_table(results: Sequence[Reconstruction], seconds: float = 1.0) -> pd.DataFrame:
    """Time as a share of the clip's length, vocoder and Griffin-Lim: the guide's, then ours.

    Ours are medians over the clips, through the VAE. If the vocoder is smaller than AudioLDM2's,
    the last row is one of that size with random weights, which take the same time, on the first
    ``seconds`` of the first clip.
    """
    import pandas as pd

    guide = (GUIDE[f"{name}, in the guide"][3] for name in ("Vocoder", "Griffin-Lim"))
    rows = {"the guide, on a GPU": [t / GUIDE_SECONDS for t in guide]}
    model = results[0].model
    for name in ("librosa", "griffinlim"):
        if {name, "vocoder"} <= set(results[0].methods):
            rows[f"{model.variant}, on {model.device}; {METHODS[name].label}"] = [
                statistics.median(r.methods[n].seconds / r.clip.duration for r in results)
                for n in ("vocoder", name)
            ]
    if model.vocoder_parameters < LARGE:
        mel = results[0].mel[: round(seconds * AUDIOLDM_MEL.frames_per_second)].to(model.device)
        label = METHODS["griffinlim"].label
        rows[f"AudioLDM2's size, on {model.device}; {label}"] = _full_size(mel)
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["vocoder", "Griffin-Lim"])
    table["times faster"] = table["Griffin-Lim"] / table["vocoder"]
    table.index.name = "time / length"
    return table


def speed_text(table: pd.DataFrame) -> str:
    """The last row of :func:`speed_table` in words; Markdown."""
    ratio = table["times faster"].iloc[-1]
    words = f"{ratio:.2g} times as fast as" if ratio > 1 else f"{1 / ratio:.2g} times as slow as"
    return f"**{table.index[-1]}**: here the vocoder is {words} Griffin-Lim."


def _full_size(mel: torch.Tensor) -> list[float]:
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    with torch.random.fork_rng(devices=[]):
        vocoder = SpeechT5HifiGan(SpeechT5HifiGanConfig(**AUDIOLDM2_SIZES)).eval().to(mel.device)
    length = len(mel) / AUDIOLDM_MEL.frames_per_second
    n_samples, griffin_lim = len(mel) * AUDIOLDM_MEL.hop_length, METHODS["griffinlim"].function
    return [
        _seconds(lambda: vocode(vocoder, mel)) / length,
        _seconds(lambda: griffin_lim(mel, n_samples, torch.Generator().manual_seed(0))) / length,
    ]


def _seconds(call: Callable[[], torch.Tensor], repeats: int = 2) -> float:
    """The shortest time of some repeats, after one call that is not timed."""
    times = []
    for _ in range(1 + repeats):
        started = time.perf_counter()
        call().cpu()  # waits for an accelerator
        times.append(time.perf_counter() - started)
    return min(times[1:])
