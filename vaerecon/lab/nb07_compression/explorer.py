"""A slider for the step: its rate, the mel that comes back, and its sound.

Notebook: ``07_compression``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets as widgets
from matplotlib.figure import Figure

from vaerecon.audio.samples import ArrayLike
from vaerecon.codec import Header, LatentCodec
from vaerecon.codec.quantiser import N_STEPS, step_of
from vaerecon.lab.figures import figure_html
from vaerecon.lab.nb07_compression.bits import Coded
from vaerecon.lab.widgets import Explorer, keep_up, picture, put_player, reported, row
from vaerecon.plots import plot_mels

if TYPE_CHECKING:
    import torch

    from vaerecon.pipeline.pipeline import ReconstructionPipeline


def mel_at(
    pipe: ReconstructionPipeline, codec: LatentCodec, coded: Coded, index: int
) -> tuple[torch.Tensor, float]:
    """The mel that comes back at a step, and the rate, kbit/s."""
    data = codec.encode(coded.mean, step=step_of(index), n_samples=len(coded.clip.samples))
    mel = pipe.decode(codec.decode(data), len(coded.mel)).cpu()
    return mel, Header.read(data).kbps


def plot_step(pipe: ReconstructionPipeline, codec: LatentCodec, coded: Coded, index: int) -> Figure:
    """The mel, and what comes back of it."""
    mel, kbps = mel_at(pipe, codec, coded, index)
    error = float((mel - coded.mel).abs().mean())
    title = f"step {step_of(index):.2f}: {kbps:.2f} kbit/s, {error:.3f} nepers off"
    return plot_mels({"original": coded.mel, title: mel})[0]


def explore_step(
    pipe: ReconstructionPipeline, codec: LatentCodec, coded: Coded, method: str = "fast"
) -> Explorer:
    """A slider for the step, a picture, and a button to listen."""
    index = widgets.IntSlider(
        48, min=0, max=N_STEPS - 1, step=4, description="step", readout=False,
        continuous_update=False,
    )  # fmt: skip
    listen = widgets.Button(description="Listen", icon="play")
    status, image, sound = widgets.HTML(), picture(), widgets.VBox()
    n, mel = len(coded.clip.samples), pipe.decode(coded.mean, len(coded.mel))

    def tracks() -> dict[str, ArrayLike]:
        rounded, kbps = mel_at(pipe, codec, coded, index.value)
        return {
            "original": coded.clip.samples,
            "not rounded": pipe.synthesize(mel, method, n).cpu(),
            f"{kbps:.2f} kbit/s": pipe.synthesize(rounded, method, n).cpu(),
        }

    def draw(_: object = None) -> None:
        with reported(status, image):
            image.value = figure_html(plot_step(pipe, codec, coded, index.value))
            keep_up(sound, tracks)

    def hear(_: object) -> None:
        with reported(status):
            put_player(sound, tracks(), coded.clip.name)

    index.observe(draw, "value")
    listen.on_click(hear)
    draw()
    return Explorer([row(index, listen), status, image, sound])
