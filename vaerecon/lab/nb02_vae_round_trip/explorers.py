"""Widgets: edit a latent and listen, or reconstruct an uploaded clip.

Errors and warnings appear in the widget. Notebook: ``02_vae_round_trip``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import torch

from vaerecon.audio.clip import Clip
from vaerecon.audio.samples import ArrayLike
from vaerecon.bundled import DEMO_CLIP, demo_clips
from vaerecon.lab.listening.levels import match_levels
from vaerecon.lab.listening.player import ABPlayer
from vaerecon.lab.nb02_vae_round_trip.latent_edits import edited_mel
from vaerecon.lab.nb02_vae_round_trip.plots import plot_edit
from vaerecon.lab.nb02_vae_round_trip.round_trip import RoundTrip, synthesize
from vaerecon.lab.setup import demo_clip, png
from vaerecon.lab.widgets import Explorer, labelled, reported, upload_button, uploaded_clip
from vaerecon.methods import METHODS
from vaerecon.metrics.scores import METRICS
from vaerecon.models.sources import VARIANTS
from vaerecon.pipeline.pipeline import ReconstructionPipeline
from vaerecon.pipeline.result import Reconstruction


def _empty(box: widgets.Box) -> None:
    """Remove the player from a box, and free its memory."""
    old, box.children = box.children, ()
    for player in old:
        player.close()


def _put_player(box: widgets.Box, tracks: Mapping[str, ArrayLike], title: str) -> None:
    """Put an A/B player into a box, in place of the one there; the first track gives the level."""
    player = ABPlayer(match_levels(tracks), title=title)
    _empty(box)
    box.children = (player,)


def explore_latent(
    pipe: ReconstructionPipeline, one: RoundTrip, other: RoundTrip, method: str = "griffinlim"
) -> Explorer:
    """Sliders for an offset of one channel and for the mix with a second clip; a player."""
    channel = labelled(widgets.Dropdown, "channel", options=range(len(one.mean)))
    amount = labelled(widgets.FloatSlider, "add (std)", value=0, min=-4, max=4, step=0.5)
    weight = labelled(widgets.FloatSlider, "second clip", value=0, min=0, max=1, step=0.05)
    listen = widgets.Button(description="Listen", icon="play")
    status, image, sound = widgets.HTML(), widgets.Image(format="png"), widgets.VBox()

    def mel() -> torch.Tensor:
        return edited_mel(pipe, one, other, channel.value, amount.value, weight.value)

    def draw(_: object = None) -> None:
        with reported(status):
            image.value = png(plot_edit(mel(), one.decoded)[0])

    def hear(_: object) -> None:
        with reported(status):
            edited = mel()
            mels = {"unedited": one.decoded[: len(edited)], "edited": edited}
            _put_player(sound, synthesize(pipe, mels, method), "Latent, edited")

    for slider in (channel, amount, weight):
        slider.observe(draw, "value")
    listen.on_click(hear)
    draw()
    controls = widgets.HBox([widgets.VBox([channel, amount, weight]), listen])
    return Explorer([controls, status, image, sound])


@lru_cache(maxsize=2)
def load_model(model: str) -> ReconstructionPipeline:
    """A pipeline without progress bars, cached."""
    pipe: Any = ReconstructionPipeline.from_pretrained(model)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def reconstruct(clip: Clip, model: str, methods: Sequence[str]) -> Reconstruction:
    """The pipeline's call, with only the metric that the plot states."""
    others = [name for name in METRICS if name != "log_mel_mae"]
    return load_model(model)(clip, methods, without_vae=False, exclude_metrics=others)


def _model_options() -> list[tuple[str, str]]:
    options = []
    for name, variant in VARIANTS.items():
        size = "bundled" if variant.size is None else f"{variant.size / 1e6:.0f} MB"
        options.append((f"{name} ({size}, {variant.licence})", name))
    return options


def explore_round_trip(
    model: str = "tiny", methods: Sequence[str] = ("griffinlim",), max_length: float = 4.0
) -> Explorer:
    """Upload a clip or take a bundled one, choose a model and methods, see and hear the result."""
    upload, clips = upload_button(), list(demo_clips())
    bundled = labelled(widgets.Dropdown, "or bundled", options=clips, value=DEMO_CLIP)
    options = _model_options()
    if model not in VARIANTS:
        options.append((Path(model).name, model))
    variant = labelled(widgets.Dropdown, "model", options=options, value=model)
    choices = [(m.label, m.name) for m in METHODS.values() if not m.reference_only]
    chosen = tuple(methods)
    method = labelled(widgets.SelectMultiple, "methods", options=choices, value=chosen, rows=5)
    length = labelled(
        widgets.FloatSlider, "at most (s)", value=max_length, min=0.5, max=10, step=0.5
    )
    run = widgets.Button(description="Run", icon="cogs", button_style="primary")
    status, image, sound = widgets.HTML(), widgets.Image(format="png"), widgets.VBox()
    image.layout.display = "none"  # until there is one

    def go(_: object) -> None:
        run.disabled, status.value = True, "Running ..."
        try:
            _empty(sound)  # no old sound or plot beside a new error
            image.layout.display = "none"
            with reported(status):
                seconds = length.value
                clip = uploaded_clip(upload, seconds) or demo_clip(bundled.value, seconds)
                result = reconstruct(clip, variant.value, method.value)
                image.value = png(result.plot()[0])
                image.layout.display = ""
                sounds: dict[str, ArrayLike] = {"original": torch.as_tensor(result.reference)}
                sounds |= {name: result.audio[name] for name in method.value}
                title = f"{result.clip.name}, model {result.model.source}"
                _put_player(sound, sounds, title)
        finally:
            run.disabled = False

    run.on_click(go)
    bundled.observe(lambda _: setattr(upload, "value", ()), "value")  # the last choice counts
    left, right = widgets.VBox([upload, bundled, variant, length]), widgets.VBox([method, run])
    return Explorer([widgets.HBox([left, right]), status, image, sound])
