"""Pictures of a fine-tuning: the curve, before and after, and what lies between them.

Notebook: ``05_fine_tuning``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets as widgets
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from vaerecon.lab.nb02_vae_round_trip.plots import BLUE, GREY, ORANGE, plot_stack
from vaerecon.lab.nb05_fine_tuning.tuning import Tuning, blend, through
from vaerecon.lab.setup import png
from vaerecon.lab.widgets import reported
from vaerecon.plots import new_axes, plot_log_mel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DIFFERENCE_LIMIT = 1.0  # nepers, of the colours of a difference


def plot_curve(curve: pd.DataFrame, ax: Axes | None = None) -> tuple[Figure, Axes]:
    """Error of the training crops and of the held-out ones over the steps."""
    figure, ax = new_axes(ax, (9, 3.4))
    ax.plot(curve.index, curve["mae"], color=GREY, marker="o", label="training crops, as they come")
    ax.plot(curve.index, curve["validation_mae"], color=BLUE, marker="o", label="held-out crops")
    ax.set(xlabel="step", ylabel="log-mel error (nepers)", ylim=(0, None))
    ax.legend(frameon=False)
    return figure, ax


def plot_before_after(tuning: Tuning, mel: torch.Tensor, name: str) -> tuple[Figure, np.ndarray]:
    """Original, and what is wrong with the one that came back before and after."""
    figure = Figure(figsize=(10, 6.6), layout="constrained")
    axes = figure.subplots(3, 1, sharex=True)
    plot_log_mel(mel, axes[0], title=f"{name}: original")
    for ax, title, vae in (
        (axes[1], "before", tuning.before),
        (axes[2], "after", tuning.after),
    ):
        difference = through(vae, mel) - mel
        plot_log_mel(
            difference,
            ax,
            title=f"{title}, minus original: {float(difference.abs().mean()):.3f} nepers",
            limits=(-DIFFERENCE_LIMIT, DIFFERENCE_LIMIT),
            difference=True,
        )
    for ax in axes:
        ax.label_outer()
    return figure, axes


def plot_blend(errors: pd.DataFrame, ax: Axes | None = None) -> tuple[Figure, Axes]:
    """Errors of the clips along the way from the weights before to those after."""
    figure, ax = new_axes(ax, (9, 3.4))
    for name, color in zip(errors.columns, (BLUE, ORANGE), strict=True):
        ax.plot(errors.index, errors[name], color=color, marker="o", label=name)
    ax.set(xlabel="share of the way (0 before, 1 after)", ylabel="log-mel error (nepers)")
    ax.legend(frameon=False)
    return figure, ax


def explorer_blend(tuning: Tuning, mels: dict[str, torch.Tensor]) -> widgets.VBox:
    """A slider along the way, and what comes back of a clip there."""
    share = widgets.FloatSlider(
        0.5, min=0, max=1, step=0.05, description="share", continuous_update=False
    )
    clip = widgets.Dropdown(options=list(mels), description="clip")
    status, image = widgets.HTML(), widgets.Image(format="png")

    def draw(_: object = None) -> None:
        with reported(status):
            mel = mels[clip.value]
            returned = through(blend(tuning, share.value), mel)
            error = float((returned - mel).abs().mean())
            pictures = {"original": mel, f"comes back: {error:.3f} nepers off": returned}
            image.value = png(plot_stack(pictures)[0])

    for control in (share, clip):
        control.observe(draw, "value")
    draw()
    return widgets.VBox([widgets.HBox([share, clip]), status, image])
