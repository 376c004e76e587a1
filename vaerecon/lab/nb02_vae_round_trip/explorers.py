"""Widgets around the round trip: edit a latent and listen, or send a clip of one's own through.

Thin: what is drawn and computed are functions of
:mod:`vaerecon.lab.nb02_vae_round_trip.round_trip`,
:mod:`vaerecon.lab.nb02_vae_round_trip.latent_edits`, their pictures and the pipeline. Errors and
warnings appear in the widget. Each explorer is returned, not displayed.

Notebook: ``02_vae_round_trip``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

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
from vaerecon.lab.widgets import read_upload, reported
from vaerecon.methods import METHODS
from vaerecon.metrics.scores import METRICS
from vaerecon.models.sources import VARIANTS
from vaerecon.pipeline.pipeline import ReconstructionPipeline
from vaerecon.pipeline.result import Reconstruction

WIDE = {"description_width": "8em"}


def _empty(box: widgets.Box) -> None:
    """Take the player out of a box, and free what it held."""
    old, box.children = box.children, ()
    for player in old:
        player.close()


def _put_player(box: widgets.Box, tracks: Mapping[str, ArrayLike], title: str) -> None:
    """Put an A/B player into a box, in place of the one there; the first track gives the level."""
    player = ABPlayer(match_levels(tracks), title=title)
    _empty(box)
    box.children = (player,)


# ------------------------------------------------------------------ editing a latent


def explore_latent(
    pipe: ReconstructionPipeline, one: RoundTrip, other: RoundTrip, method: str = "griffinlim"
) -> widgets.VBox:
    """Sliders for a channel's walk and for the mix with a second clip; a button to listen."""
    channel = widgets.Dropdown(options=range(len(one.mean)), description="channel", style=WIDE)
    amount = widgets.FloatSlider(
        0.0, min=-4, max=4, step=0.5, description="add (std)", continuous_update=False, style=WIDE
    )
    weight = widgets.FloatSlider(
        0.0, min=0, max=1, step=0.05, description="second clip", continuous_update=False, style=WIDE
    )
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
    return widgets.VBox([controls, status, image, sound])


# ------------------------------------------------------------------ a clip of one's own


@lru_cache(maxsize=2)
def load_model(model: str) -> ReconstructionPipeline:
    """A pipeline without progress bars, kept for the next time."""
    pipe = ReconstructionPipeline.from_pretrained(model)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def reconstruct(clip: Clip, model: str, methods: Sequence[str]) -> Reconstruction:
    """The pipeline's own road, with the one metric that the picture states."""
    others = [name for name in METRICS if name != "log_mel_mae"]
    return load_model(model)(clip, methods, without_vae=False, exclude_metrics=others)


def _model_options() -> list[tuple[str, str]]:
    def label(name: str) -> str:
        size, licence = VARIANTS[name].size, VARIANTS[name].licence
        return f"{name} ({'bundled' if size is None else f'{size / 1e6:.0f} MB'}, {licence})"

    return [(label(name), name) for name in VARIANTS]


def explore_round_trip(
    model: str = "tiny", methods: Sequence[str] = ("griffinlim",), max_length: float = 4.0
) -> widgets.VBox:
    """Upload a clip or take a bundled one, choose a model and methods, see and hear the result."""
    upload = widgets.FileUpload(accept="audio/*,.flac,.ogg,.wav,.mp3", multiple=False)
    bundled = widgets.Dropdown(
        options=list(demo_clips()), value=DEMO_CLIP, description="or bundled", style=WIDE
    )
    options = _model_options()
    if model not in VARIANTS:
        options.append((Path(model).name, model))
    variant = widgets.Dropdown(options=options, value=model, description="model", style=WIDE)
    choices = [(m.label, m.name) for m in METHODS.values() if not m.reference_only]
    method = widgets.SelectMultiple(
        options=choices, value=tuple(methods), rows=5, description="methods", style=WIDE
    )
    length = widgets.FloatSlider(
        max_length, min=0.5, max=10, step=0.5, description="at most (s)", style=WIDE
    )
    run = widgets.Button(description="Run", icon="cogs", button_style="primary")
    status, image, sound = widgets.HTML(), widgets.Image(format="png"), widgets.VBox()
    image.layout.display = "none"  # until there is one

    def chosen() -> Clip:
        if not upload.value:
            return demo_clip(bundled.value, length.value)
        file = upload.value[0]
        return read_upload(file["name"], bytes(file["content"]), length.value)

    def go(_: object) -> None:
        run.disabled, status.value = True, "Running ..."
        try:
            _empty(sound)  # no old sound or picture beside a new error
            image.layout.display = "none"
            with reported(status):
                result = reconstruct(chosen(), variant.value, method.value)
                image.value = png(result.plot()[0])
                image.layout.display = ""
                heard = {name: result.audio[name] for name in method.value}
                title = f"{result.clip.name}, model {result.model.source}"
                _put_player(sound, {"original": result.reference} | heard, title)
        finally:
            run.disabled = False

    run.on_click(go)
    bundled.observe(lambda _: setattr(upload, "value", ()), "value")  # the last choice counts
    left, right = widgets.VBox([upload, bundled, variant, length]), widgets.VBox([method, run])
    return widgets.VBox([widgets.HBox([left, right]), status, image, sound])
