"""Plots and the explorer for ``03_vocoder_dimension_fix``. Blue is right, dark red is wrong."""

import html
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import ipywidgets as widgets
import numpy as np
import torch
from matplotlib.figure import Figure

from vaerecon.audio.samples import ArrayLike, as_samples
from vaerecon.lab.figures import BLUE, GREY, stacked
from vaerecon.lab.nb03_vocoder_fix.faults import LAYOUTS, SCALES, Attempt, feed
from vaerecon.lab.widgets import Explorer, sound_explorer
from vaerecon.mel.front_end import log_mel
from vaerecon.plots import plot_mels

RIGHT, WRONG, NEUTRAL = BLUE, "#8b1a2b", GREY
CHOICES = {
    "layout": LAYOUTS,
    "scale": tuple(SCALES),
    "dtype": ("float32", "float16", "bfloat16", "float64"),
}


def mels_of(sounds: Mapping[str, ArrayLike]) -> dict[str, torch.Tensor]:
    """The log-mel of each sound ``[N]`` at its own level."""
    return {name: log_mel(x, normalize=False).cpu() for name, x in sounds.items()}


def plot_upsampling(layers: Sequence[tuple[int, int]]) -> tuple[Figure, Any]:
    """Which output values each frame reaches in an upsampling layer, by ``(rate, kernel)``.

    Grey: the outputs that belong to each frame. Bars: the kernel's support, with a dot at its
    centre.
    """
    n_frames = 5
    figure, axes = stacked(len(layers), 2.6 * len(layers))
    for ax, (rate, kernel) in zip(axes, layers, strict=True):
        padding, odd = (kernel - rate) // 2, (kernel - rate) % 2
        for frame in range(n_frames):
            start = frame * rate
            ax.barh(frame, rate, left=start - 0.5, height=0.9, color=NEUTRAL, alpha=0.45)
            ax.plot([start - padding, start - padding + kernel - 1], [frame, frame], color=RIGHT)
            center = start - padding + (kernel - 1) / 2
            ax.plot(center, frame, "o", color=WRONG if odd else RIGHT)
            ax.plot([start + (rate - 1) / 2] * 2, [frame - 0.45, frame + 0.45], color="black", lw=1)
        late = "half a value late" if odd else "on time"
        total = n_frames * rate + odd
        ax.set_title(f"rate {rate}, kernel {kernel}: {n_frames} in, {total} out, centres {late}")
        ax.set(ylabel="frame in", yticks=range(n_frames))
        ax.axvline(-0.5, color="black", lw=1, ls=":")
        ax.axvline(total - 0.5, color="black", lw=1, ls=":")
    axes[-1].set_xlabel("value out (dotted: the first and the last that are kept)")
    return figure, axes


def plot_attempt(samples: ArrayLike, attempt: Attempt) -> tuple[Figure, np.ndarray]:
    """The log-mel of a clip ``[N]`` and that of the vocoder's sound, or its error."""
    original = log_mel(as_samples(samples), normalize=False).cpu()
    given = f"given {attempt.shape}, {attempt.dtype}"
    if attempt.samples is not None:
        sound = log_mel(attempt.samples, normalize=False)
        error = float((sound - original).abs().mean())
        title = f"{given}: log-mel error {error:.2f} nepers"
        return plot_mels({"original": original, title: sound})
    figure, axes = plot_mels({"original": original, given: torch.full_like(original, -99.0)})
    words = "RuntimeError\n" + textwrap.fill(attempt.error, 90)
    place = {"transform": axes[1].transAxes, "ha": "center", "va": "center"}
    axes[1].text(0.5, 0.5, words, color="white", **place)
    return figure, axes


def explorer_faults(vocoder: Any, samples: ArrayLike, lag: int = 0) -> Explorer:
    """A widget that feeds a vocoder in a chosen layout, scale and dtype: picture, sound, error.

    ``samples`` are ``[N]`` at peak 0.5, short, since each change synthesizes them anew.
    """
    x = as_samples(samples).cpu()
    choices = {n: widgets.Dropdown(options=values, description=n) for n, values in CHOICES.items()}
    answer = widgets.HTML()

    def attempt() -> Attempt:
        return feed(vocoder, x, **{name: c.value for name, c in choices.items()}, lag=lag)

    def plot() -> Figure:
        found = attempt()
        words = html.escape(found.error or "accepted without an error")
        answer.value = f"<b>{found.shape} {found.dtype}:</b> <code>{words}</code>"
        return plot_attempt(x, found)[0]

    def tracks() -> dict[str, torch.Tensor]:
        sound = attempt().samples
        return {"original": x} if sound is None else {"original": x, "vocoder": sound}

    return sound_explorer(list(choices.values()), plot, tracks, "The vocoder's sound", answer)
