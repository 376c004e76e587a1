"""Widgets for ``02_vae_round_trip``: edit a latent and listen, or reconstruct a clip."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import ipywidgets as w
import torch
from matplotlib.figure import Figure

from vaerecon.audio.samples import ArrayLike
from vaerecon.bundled import DEMO_CLIP, demo_clips
from vaerecon.lab import widgets
from vaerecon.lab.figures import figure_html
from vaerecon.lab.nb02_vae_round_trip.round_trip import (
    RoundTrip,
    interpolate,
    synthesize,
    walk_channel,
)
from vaerecon.lab.setup import demo_clip
from vaerecon.methods import METHODS
from vaerecon.metrics.scores import METRICS
from vaerecon.models.sources import VARIANTS
from vaerecon.pipeline.pipeline import ReconstructionPipeline
from vaerecon.plots import level_limits, plot_mels


def explore_latent(
    pipe: ReconstructionPipeline, one: RoundTrip, other: RoundTrip, method: str = "griffinlim"
) -> widgets.Explorer:
    """Sliders for an offset of one channel and for the mix with a second clip; a player."""
    channel = widgets.labelled(w.Dropdown, "channel", options=range(len(one.mean)))
    amount = widgets.labelled(w.FloatSlider, "add (std)", value=0, min=-4, max=4, step=0.5)
    weight = widgets.labelled(w.FloatSlider, "second clip", value=0, min=0, max=1, step=0.05)

    def mel() -> torch.Tensor:
        latent, n_frames = walk_channel(one.mean, channel.value, amount.value), len(one.mel)
        if weight.value:
            latent = interpolate(latent, other.mean, weight.value)
            n_frames = min(n_frames, len(other.mel))
        return pipe.decode(latent, n_frames=n_frames).cpu()

    def plot() -> Figure:
        edited = mel()
        change, limits = edited - one.decoded[: len(edited)], level_limits(float(one.decoded.max()))
        title = f"edited minus unedited: mean absolute difference {change.abs().mean():.2f} nepers"
        return plot_mels({"edited": edited}, limits, {title: change})[0]

    def tracks() -> dict[str, torch.Tensor]:
        edited = mel()
        return synthesize(pipe, {"unedited": one.decoded[: len(edited)], "edited": edited}, method)

    return widgets.sound_explorer([channel, amount, weight], plot, tracks, "Latent, edited")


@lru_cache(maxsize=2)
def load_model(model: str) -> ReconstructionPipeline:
    """A pipeline without progress bars, cached."""
    pipe = ReconstructionPipeline.from_pretrained(model)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def explore_round_trip(
    model: str = "tiny", methods: Sequence[str] = ("griffinlim",), max_length: float = 4.0
) -> widgets.Explorer:
    """Choose a clip of one's own or a bundled one, a model and methods; see and hear the result."""
    own, clips = widgets.YourClip(longest=10.0), list(demo_clips())
    bundled = widgets.labelled(w.Dropdown, "or bundled", options=clips, value=DEMO_CLIP)
    options = {}
    for name, each in VARIANTS.items():
        size = "bundled" if each.size is None else f"{each.size / 1e6:.0f} MB"
        options[f"{name} ({size}, {each.licence})"] = name
    if model not in VARIANTS:
        options[Path(model).name] = model
    wide = {"width": "26em", "max_width": "95%"}
    variant = widgets.labelled(w.Dropdown, "model", options=options, value=model, layout=wide)
    unused = [name for name in METRICS if name != "log_mel_mae"]  # the plot states this one only
    choices = [(m.label, m.name) for m in METHODS.values() if not m.reference_only]
    chosen = tuple(methods)
    method = widgets.labelled(w.SelectMultiple, "methods", options=choices, value=chosen, rows=5)
    length = widgets.labelled(
        w.FloatSlider, "at most (s)", value=max_length, min=0.5, max=10, step=0.5
    )
    run = w.Button(description="Run", icon="cogs", button_style="primary")
    status, image, sound = w.HTML(), widgets.picture(), w.VBox()
    image.layout.display = "none"  # until there is one

    def go(_: object) -> None:
        run.disabled, status.value = True, "Running ..."
        try:
            widgets.remove_player(sound)  # no old sound or plot beside a new error
            image.layout.display = "none"
            with widgets.reported(status):
                seconds = length.value
                clip = own.clip(seconds) or demo_clip(bundled.value, seconds)
                pipe = load_model(variant.value)
                result = pipe(clip, method.value, without_vae=False, exclude_metrics=unused)
                image.value = figure_html(result.plot()[0])
                image.layout.display = ""
                sounds: dict[str, ArrayLike] = {"original": torch.as_tensor(result.reference)}
                sounds |= {name: result.audio[name] for name in method.value}
                title = f"{result.clip.name}, model {result.model.source}"
                widgets.put_player(sound, sounds, title)
        finally:
            run.disabled = False

    run.on_click(go)
    bundled.observe(lambda _: own.clear(), "value")  # the last choice counts
    left, right = w.VBox([own, bundled, variant, length]), w.VBox([method, run])
    return widgets.Explorer([widgets.row(left, right), status, image, sound])
