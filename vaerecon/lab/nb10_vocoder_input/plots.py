"""Curves over the amount of damage, and the explorer. Notebook: ``10_vocoder_input``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import ipywidgets as widgets
import numpy as np
from matplotlib.figure import Figure

from vaerecon.audio.clip import Clip
from vaerecon.audio.samples import ArrayLike
from vaerecon.lab.figures import figure_html
from vaerecon.lab.widgets import Explorer, keep_up, labelled, picture, put_player, reported, row
from vaerecon.mel.damage import DAMAGES
from vaerecon.mel.diagnosis import diagnose_mel
from vaerecon.mel.front_end import log_mel
from vaerecon.methods import METHODS
from vaerecon.metrics.scores import METRICS
from vaerecon.plots import METHOD_COLORS, plot_mels

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from vaerecon.pipeline.pipeline import ReconstructionPipeline


def plot_curves(
    curves: Mapping[tuple[str, str], pd.DataFrame], metric: str
) -> tuple[Figure, np.ndarray]:
    """A panel for each damage, a curve for each method; ``curves`` by ``(damage, method)``."""
    names = list(dict.fromkeys(damage for damage, _ in curves))
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(2.7 * columns, 2.5 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for ax, name in zip(axes.flat, names, strict=False):
        for (damage, method), table in curves.items():
            if damage == name:
                color, label = METHOD_COLORS[method], METHODS[method].label
                ax.plot(table.index, table[metric], "o-", ms=4, color=color, label=label)
        ax.set_title(DAMAGES[name].label, fontsize=9)
        ax.set_xlabel(DAMAGES[name].unit, fontsize=8)
    for ax in axes.flat[len(names) :]:
        ax.set_axis_off()
    for ax in axes[:, 0]:
        ax.set_ylabel(METRICS[metric].heading)
    axes[0, 0].legend(frameon=False, fontsize=8)
    return figure, axes


def explore_damage(pipe: ReconstructionPipeline, clip: Clip, method: str) -> Explorer:
    """A menu of damages and a slider: picture, what the diagnosis says, and a button to listen."""
    mel = log_mel(clip.samples)
    kind = labelled(widgets.Dropdown, "damage", options=[(d.label, n) for n, d in DAMAGES.items()])
    step = labelled(widgets.IntSlider, "amount", value=1, min=0, max=4)
    listen = widgets.Button(description="Listen", icon="play")
    status, said, image, sound = widgets.HTML(), widgets.HTML(), picture(), widgets.VBox()

    def changed() -> tuple[str, torch.Tensor]:
        damage = DAMAGES[kind.value]
        amount = damage.amounts[min(step.value, len(damage.amounts) - 1)]
        return f"{damage.label}: {amount:g} {damage.unit}", damage.function(mel, amount)

    def tracks() -> dict[str, ArrayLike]:
        title, damaged = changed()
        made = {n: pipe.synthesize(x, method, len(clip.samples)).cpu()
                for n, x in (("as it is", mel), (title, damaged))}  # fmt: skip
        return {"original": clip.samples, **made}

    def draw(_: object = None) -> None:
        with reported(status, image):
            title, damaged = changed()
            image.value = figure_html(plot_mels({"the mel": mel, title: damaged})[0])
            said.value = "<br>".join(map(str, diagnose_mel(damaged))) or "no finding"
            keep_up(sound, tracks)

    def hear(_: object) -> None:
        with reported(status):
            put_player(sound, tracks(), clip.name)

    kind.observe(draw, "value")
    step.observe(draw, "value")
    listen.on_click(hear)
    draw()
    return Explorer([row(kind, step, listen), status, said, image, sound])
