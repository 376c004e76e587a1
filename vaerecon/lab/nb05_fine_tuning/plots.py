"""Plots of a fine-tuning: the curve, before and after, and the weights between.

Notebook: ``05_fine_tuning``.
"""

from __future__ import annotations

import ipywidgets as widgets
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vaerecon.lab.figures import BLUE, GREY, ORANGE, figure_html
from vaerecon.lab.nb05_fine_tuning.tuning import Tuning, blend, sounds_of_mels, through
from vaerecon.lab.widgets import Explorer, keep_up, labelled, picture, put_player, reported, row
from vaerecon.plots import new_axes, plot_mels


def plot_curve(curve: pd.DataFrame, ax: Axes | None = None) -> tuple[Figure, Axes]:
    """Error of the training crops and of the held-out ones over the steps."""
    figure, ax = new_axes(ax, (9, 3.4))
    ax.plot(curve.index, curve["mae"], color=GREY, marker="o", label="training crops")
    ax.plot(curve.index, curve["validation_mae"], color=BLUE, marker="o", label="held-out crops")
    ax.set(xlabel="step", ylabel="log-mel error (nepers)", ylim=(0, None))
    ax.legend(frameon=False)
    return figure, ax


def plot_before_after(tuning: Tuning, mel: torch.Tensor, name: str) -> tuple[Figure, np.ndarray]:
    """A log-mel ``[T, 64]``, and the error of its reconstruction before and after."""
    errors = {}
    for title, vae in (("before", tuning.before), ("after", tuning.after)):
        difference = through(vae, mel) - mel
        errors[f"{title}, minus original: {difference.abs().mean():.3f} nepers"] = difference
    return plot_mels({f"{name}: original": mel}, differences=errors)


def plot_blend(errors: pd.DataFrame, ax: Axes | None = None) -> tuple[Figure, Axes]:
    """Errors of the clips for weights between those before and those after."""
    figure, ax = new_axes(ax, (9, 3.4))
    for name, color in zip(errors.columns, (BLUE, ORANGE), strict=True):
        ax.plot(errors.index, errors[name], color=color, marker="o", label=name)
    ax.set(xlabel="interpolation weight (0 before, 1 after)", ylabel="log-mel error (nepers)")
    ax.legend(frameon=False)
    return figure, ax


def explorer_blend(tuning: Tuning, mels: dict[str, torch.Tensor]) -> Explorer:
    """A slider for the interpolation weight, and the reconstruction of a clip at it, by ear too."""
    share = labelled(widgets.FloatSlider, "share", value=0.5, min=0, max=1, step=0.05)
    clip = labelled(widgets.Dropdown, "clip", options=list(mels))
    listen = widgets.Button(description="Listen", icon="play")
    status, image, sound = widgets.HTML(), picture(), widgets.VBox()

    def reconstruction() -> torch.Tensor:
        return through(blend(tuning, share.value), mels[clip.value])

    def tracks(decoded: torch.Tensor) -> dict[str, torch.Tensor]:
        return sounds_of_mels({"original mel": mels[clip.value], "reconstruction": decoded})

    def draw(_: object = None) -> None:
        with reported(status, image):
            mel, decoded = mels[clip.value], reconstruction()
            error = float((decoded - mel).abs().mean())
            pictures = {"original": mel, f"reconstruction: error {error:.3f} nepers": decoded}
            image.value = figure_html(plot_mels(pictures)[0])
            keep_up(sound, lambda: tracks(decoded))

    def hear(_: object) -> None:
        with reported(status):
            put_player(sound, tracks(reconstruction()), "By Griffin-Lim")

    for control in (share, clip):
        control.observe(draw, "value")
    listen.on_click(hear)
    draw()
    return Explorer([row(share, clip, listen), status, image, sound])
