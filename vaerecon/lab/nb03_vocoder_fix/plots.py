"""Pictures and the explorer of notebook 03; :mod:`vaerecon.lab.nb03_vocoder_fix.faults` computes.

Conventions of :mod:`vaerecon.plots`: seconds, Hz, nepers; what is compared shares its limits.
Blue is right, dark red is wrong.

Notebook: ``03_vocoder_dimension_fix``.
"""

from __future__ import annotations

import html
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.figure import Figure

from vaerecon.audio.samples import ArrayLike, as_samples
from vaerecon.lab.listening.levels import audio_table, match_levels
from vaerecon.lab.nb03_vocoder_fix.faults import LAYOUTS, SCALES, Attempt, feed
from vaerecon.lab.nb03_vocoder_fix.input_check import possible_range
from vaerecon.lab.setup import png
from vaerecon.mel.config import AUDIOLDM_MEL
from vaerecon.mel.front_end import log_mel
from vaerecon.plots import METHOD_COLORS, RANGE_NEPERS, plot_log_mel

if TYPE_CHECKING:
    from ipywidgets import VBox
    from matplotlib.axes import Axes

RIGHT, WRONG, NEUTRAL = METHOD_COLORS["vocoder"], "#8b1a2b", METHOD_COLORS["silence"]
DTYPES = ("float32", "float16", "bfloat16", "float64")


def plot_mels(
    mels: Mapping[str, torch.Tensor], limits: tuple[float, float] | None = None
) -> tuple[Figure, np.ndarray]:
    """Log-mels ``[T, 64]`` below each other, by title, on one time axis and one colour scale.

    ``limits`` are those of the first one unless given: its loudest value and 9 nepers below.
    """
    top = float(next(iter(mels.values())).max())
    limits = limits or (max(top - RANGE_NEPERS, AUDIOLDM_MEL.log_floor), top)
    figure = Figure(figsize=(10, 2.1 * len(mels)), layout="constrained")
    axes = figure.subplots(len(mels), 1, sharex=True, squeeze=False)[:, 0]
    for ax, (title, mel) in zip(axes, mels.items(), strict=True):
        plot_log_mel(mel, ax, title=title, limits=limits)
        ax.label_outer()
    return figure, axes


def mels_of(sounds: Mapping[str, ArrayLike]) -> dict[str, torch.Tensor]:
    """The log-mel of each sound ``[N]`` as it is, at its own level."""
    return {name: log_mel(x, normalize=False).cpu() for name, x in sounds.items()}


def plot_values(mels: Mapping[str, torch.Tensor]) -> tuple[Figure, np.ndarray]:
    """How often each value occurs in several mels ``[T, 64]``, over what nepers can be at all."""
    possible = possible_range()
    lowest = min(float(mel.min()) for mel in mels.values())
    highest = max(possible.highest, *(float(mel.max()) for mel in mels.values()))
    edges = np.linspace(lowest - 1, highest + 1, 161)
    figure = Figure(figsize=(10, 1.0 * len(mels) + 0.9), layout="constrained")
    axes = figure.subplots(len(mels), 1, sharex=True, squeeze=False)[:, 0]
    for i, (ax, (name, mel)) in enumerate(zip(axes, mels.items(), strict=True)):
        ax.axvspan(possible.lowest, possible.highest, color=NEUTRAL, alpha=0.25, lw=0)
        values, mean = mel.flatten().cpu().numpy(), float(mel.mean())
        ax.hist(values, edges, color=WRONG if i else RIGHT)
        ax.axvline(mean, color="black", lw=1.2, ls="--")
        ax.set_yticks([])
        ax.set_ylabel(name, rotation=0, ha="right", va="center")
    axes[0].set_title("grey: what nepers at peak 0.5 can be; dashed: the mean")
    axes[-1].set_xlabel("value in the tensor, which the model reads as nepers")
    return figure, axes


def plot_upsampling(layers: Sequence[tuple[int, int]], n_frames: int = 5) -> tuple[Figure, Any]:
    """Which output values each frame reaches in an upsampling layer, by ``(rate, kernel)``.

    Grey steps: the outputs that belong to each frame. Bars: the reach of the kernel, with a dot
    at its centre, which lies half a value late if ``kernel - rate`` is odd.
    """
    figure = Figure(figsize=(10, 2.6 * len(layers)), layout="constrained")
    axes = figure.subplots(len(layers), 1, sharex=True, squeeze=False)[:, 0]
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


def plot_shift_snr(
    snr: Mapping[str, torch.Tensor], shift: int, ax: Axes | None = None
) -> tuple[Figure, Axes]:
    """SNR by frequency of a perfect copy that is late, as ``faults.shift_snr`` gives it."""
    figure = Figure(figsize=(10, 3.4), layout="constrained") if ax is None else ax.figure
    ax = figure.subplots() if ax is None else ax
    ax.plot(snr["hz"], snr["measured"], ".", ms=4, color=RIGHT, label="this clip")
    ax.plot(snr["hz"], snr["theory"], color="black", lw=1, label="a steady tone")
    ax.axhline(0, color=WRONG, ls="--", lw=1.5, label="silence: 0 dB")
    ax.set(xlim=(0, 4000), ylim=(-12, 40), xlabel="frequency (Hz)", ylabel="SNR (dB)")
    ax.set_title(f"A perfect copy, {shift} samples late")
    ax.legend(loc="upper right", ncols=3)
    return figure, ax


def plot_attempt(samples: ArrayLike, attempt: Attempt) -> tuple[Figure, np.ndarray]:
    """The log-mel of a clip ``[N]`` and that of what a vocoder made of it, or its error."""
    original = log_mel(as_samples(samples), normalize=False).cpu()
    given = f"given {attempt.shape}, {attempt.dtype}"
    if attempt.samples is not None:
        sound = log_mel(attempt.samples, normalize=False)
        error = float((sound - original).abs().mean())
        return plot_mels(
            {"original": original, f"{given}: log-mel error {error:.2f} nepers": sound}
        )
    figure, axes = plot_mels({"original": original, given: torch.full_like(original, -99.0)})
    words = "RuntimeError\n" + textwrap.fill(attempt.error, 90)
    middle = {"transform": axes[1].transAxes, "ha": "center", "va": "center"}
    axes[1].text(0.5, 0.5, words, color="white", **middle)
    return figure, axes


def explorer_faults(vocoder: Any, samples: ArrayLike, lag: int = 0) -> VBox:
    """Break a vocoder's input by layout, scale and dtype: picture, sound and error in place.

    Parameters
    ----------
    vocoder
        ``SpeechT5HifiGan``.
    samples
        ``[N]``, peak 0.5; short, since each change synthesizes it anew.
    lag
        Samples to take off the front of what comes out.
    """
    import ipywidgets as widgets

    x = as_samples(samples).cpu()
    choices = {
        "layout": widgets.Dropdown(options=LAYOUTS, description="layout"),
        "scale": widgets.Dropdown(options=SCALES, description="scale"),
        "dtype": widgets.Dropdown(options=DTYPES, description="dtype"),
    }
    answer, picture, sound = widgets.HTML(), widgets.Image(format="png"), widgets.HTML()

    def update(_: Any = None) -> None:
        attempt = feed(vocoder, x, **{name: c.value for name, c in choices.items()}, lag=lag)
        sounds = {"original": x}
        if attempt.samples is not None:
            sounds["vocoder"] = attempt.samples
        words = attempt.error or "accepted without a word"
        answer.value = f"<b>{attempt.shape} {attempt.dtype}:</b> <code>{html.escape(words)}</code>"
        picture.value = png(plot_attempt(x, attempt)[0])
        sound.value = audio_table(match_levels(sounds))

    for choice in choices.values():
        choice.observe(update, names="value")
    update()
    return widgets.VBox([widgets.HBox(list(choices.values())), answer, picture, sound])
