"""Plots and explorers for ``02_vae_round_trip``."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import ipywidgets as w
import numpy as np
import pandas as pd
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vaerecon.audio.samples import ArrayLike
from vaerecon.bundled import DEMO_CLIP, demo_clips
from vaerecon.lab import widgets
from vaerecon.lab.figures import BLUE, GREY, ORANGE, PICTURE, figure_html, panels
from vaerecon.lab.nb02_vae_round_trip import round_trip as rt
from vaerecon.lab.setup import demo_clip
from vaerecon.mel.config import AUDIOLDM_MEL
from vaerecon.methods import METHODS
from vaerecon.metrics.scores import METRICS
from vaerecon.models.sources import VARIANTS
from vaerecon.pipeline.pipeline import ReconstructionPipeline
from vaerecon.plots import (
    DIFFERENCE_MAP,
    TICKS_HZ,
    add_colorbar,
    level_limits,
    mel_bin,
    new_axes,
    plot_log_mel,
    plot_mels,
)


def _hz_axis(axis: Axes, along: str = "y", bins_per_row: int = 1) -> None:
    """Ticks in Hz on an axis that counts mel bins (or rows of several bins each)."""
    # the middle of a row of n bins lies (n - 1) / 2 bins above its first
    ticks = (mel_bin(np.array(TICKS_HZ)) - (bins_per_row - 1) / 2) / bins_per_row
    axis.set(**{f"{along}ticks": ticks, f"{along}ticklabels": [str(hz) for hz in TICKS_HZ]})
    axis.set(**{f"{along}label": "frequency (Hz)"})


def plot_errors(trip: rt.RoundTrip, by_level: pd.DataFrame) -> tuple[Figure, np.ndarray]:
    """The error by band, by level and by time: mean absolute difference, and bias.

    ``by_level`` has ``mae`` and ``bias`` by level, nepers below the loudest value. A bias is heard
    as a change of timbre or level, an error without bias as roughness or blur.
    """
    difference = (trip.decoded - trip.mel).numpy()
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    axes = figure.subplot_mosaic([["band", "level"], ["time", "time"]])
    seconds = (np.arange(len(difference)) + 0.5) / AUDIOLDM_MEL.frames_per_second
    curves = (
        ("band", np.arange(64), abs(difference).mean(0), difference.mean(0)),
        ("time", seconds, abs(difference).mean(1), difference.mean(1)),
        ("level", by_level.index + 0.5, by_level["mae"], by_level["bias"]),
    )
    for name, x, mae, bias in curves:
        marker = "o" if name == "level" else ""
        axes[name].plot(x, mae, color=BLUE, marker=marker, label="mean absolute difference")
        axes[name].plot(x, bias, color=ORANGE, marker=marker, label="bias (above 0: too loud)")
        axes[name].axhline(0, color=GREY, linewidth=0.8)
        axes[name].set_ylabel("error (nepers)")
    _hz_axis(axes["band"], "x")
    axes["band"].set_title("by band")
    axes["level"].set(title="by level", xlabel="level of the original (nepers below the loudest)")
    axes["time"].set(title="by time", xlabel="time (s)", xlim=(0, seconds[-1]))
    figure.legend(*axes["band"].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure, np.array(list(axes.values()))


def plot_rates(curves: Mapping[str, pd.DataFrame]) -> tuple[Figure, Axes]:
    """Error of the log-mel against the bit rate, a curve for each table, with its steps beside it.

    The tables have ``kbit/s`` and ``error`` (nepers) by quantisation step.
    """
    figure, ax = new_axes(None, (8, 3.8))
    for (name, table), color in zip(curves.items(), (BLUE, ORANGE), strict=False):
        ax.plot(table["kbit/s"], table["error"], "o-", color=color, label=name)
        for step, row in table.iterrows():
            style: dict[str, Any] = {"textcoords": "offset points", "fontsize": 8, "color": color}
            ax.annotate(f"{step:g}", (row["kbit/s"], row["error"]), (4, 5), **style)
    ax.set(xlabel="bit rate (kbit/s), and the step", ylabel="error of the log-mel (nepers)")
    ax.set_ylim(0, 1.15 * max(table["error"].max() for table in curves.values()))
    return figure, ax


def plot_latent(latent: torch.Tensor) -> tuple[Figure, np.ndarray]:
    """The channels of a latent ``[8, L, 16]`` as pictures on one scale around zero."""
    rows = (len(latent) + 1) // 2
    figure, axes = panels(len(latent), 2, (10, 1.75 * rows), sharex=True, sharey=True)
    # 1 value in 200 is beyond the scale
    limit = max(float(np.quantile(latent.abs().numpy(), 0.995)), 1e-3)
    step = 4 / AUDIOLDM_MEL.frames_per_second  # s per latent position
    extent = (0, latent.shape[1] * step, -0.5, latent.shape[2] - 0.5)
    for channel, ax in enumerate(axes.flat[: len(latent)]):
        picture = latent[channel].T.numpy()  # [L, 16] -> [16, L]: frequency upwards
        scale: dict[str, Any] = {"vmin": -limit, "vmax": limit, "extent": extent}
        image = ax.imshow(picture, DIFFERENCE_MAP, **scale, **PICTURE)
        _hz_axis(ax, "y", bins_per_row=64 // latent.shape[2])
        ax.set(xlabel="time (s)", title=f"channel {channel}")
        ax.label_outer()
    figure.colorbar(image, ax=axes, label="latent value", pad=0.01)
    return figure, axes


def plot_importance(
    rise: pd.DataFrame, kl: pd.Series, change: pd.Series
) -> tuple[Figure, np.ndarray]:
    """Rise of the error when each channel is silenced, and change of the log-mel against its KL.

    All by channel; ``rise`` has a column for each way of silencing. Nepers, and nats per value.
    """
    figure, ((left, right),) = panels(2, 2, (10, 3.4))
    rise.plot.bar(ax=left, rot=0, color=[BLUE, ORANGE])
    left.set(xlabel="latent channel", ylabel="rise (nepers)", title="rise of the error")
    left.axhline(0, color=GREY, linewidth=0.8)
    left.legend(fontsize=8)
    right.scatter(kl, change, color=BLUE)
    for channel, place in enumerate(zip(kl, change, strict=True)):
        right.annotate(str(channel), place, xytext=(5, 4), textcoords="offset points")
    right.set(xlim=(0, 1.1 * max(kl.max(), 1e-6)), ylim=(0, 1.15 * max(change.max(), 1e-6)))
    right.set(xlabel="KL from N(0, 1) (nats per value)", ylabel="change of the log-mel (nepers)")
    right.set_title("change when zeroed, by channel")
    return figure, np.array([left, right])


def plot_walk(mels: dict[float, torch.Tensor]) -> tuple[Figure, np.ndarray]:
    """Log-mels ``[T, 64]`` by standard deviations added, with 0, and each band's mean change."""
    limits = level_limits(float(mels[0].max()))
    figure = Figure(figsize=(10, 2.0 * len(mels)), layout="constrained")
    grid = figure.add_gridspec(len(mels), 2, width_ratios=(3, 1))
    axes: list[Axes] = []
    for row, (amount, mel) in enumerate(mels.items()):
        ax = figure.add_subplot(grid[row, 0], sharex=axes[0] if axes else None)
        title = f"{amount:+g} standard deviations" if amount else "unchanged"
        plot_log_mel(mel, ax, title=title, limits=limits, colorbar=False)
        ax.label_outer()
        axes.append(ax)
    add_colorbar(axes, "level (nepers)")
    side = figure.add_subplot(grid[:, 1])
    farthest = max(abs(amount) for amount in mels)
    for amount, mel in mels.items():
        color = colormaps["coolwarm"](0.5 + 0.5 * amount / farthest) if amount else "black"
        change = (mel - mels[0]).mean(0)
        side.plot(change, np.arange(64), color=color, label=f"{amount:+g}" if amount else "0")
    _hz_axis(side, "y")
    side.set(xlabel="mean change (nepers)", ylim=(-0.5, 63.5))
    side.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize=8, frameon=False)
    return figure, np.array([*axes, side])


def explore_latent(
    pipe: ReconstructionPipeline, one: rt.RoundTrip, other: rt.RoundTrip, method: str = "griffinlim"
) -> widgets.Explorer:
    """Sliders for an offset of one channel and for the mix with a second clip; a player."""
    channel = widgets.labelled(w.Dropdown, "channel", options=range(len(one.mean)))
    amount = widgets.labelled(w.FloatSlider, "add (std)", value=0, min=-4, max=4, step=0.5)
    weight = widgets.labelled(w.FloatSlider, "second clip", value=0, min=0, max=1, step=0.05)

    def mel() -> torch.Tensor:
        latent, n_frames = rt.walk_channel(one.mean, channel.value, amount.value), len(one.mel)
        if weight.value:
            latent = rt.interpolate(latent, other.mean, weight.value)
            n_frames = min(n_frames, len(other.mel))
        return pipe.decode(latent, n_frames=n_frames).cpu()

    def plot() -> Figure:
        edited = mel()
        change, limits = edited - one.decoded[: len(edited)], level_limits(float(one.decoded.max()))
        title = f"edited minus unedited: mean absolute difference {change.abs().mean():.2f} nepers"
        return plot_mels({"edited": edited}, limits, {title: change})[0]

    def tracks() -> dict[str, torch.Tensor]:
        edited = mel()
        mels = {"unedited": one.decoded[: len(edited)], "edited": edited}
        return rt.synthesize(pipe, mels, method)

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
    models = list(dict.fromkeys([*VARIANTS, model]))
    variant = widgets.labelled(w.Dropdown, "model", options=models, value=model)
    unused = [name for name in METRICS if name != "log_mel_mae"]  # the plot states this one only
    choices = [(m.label, m.name) for m in METHODS.values() if not m.reference_only]
    method = widgets.labelled(
        w.SelectMultiple, "methods", options=choices, value=tuple(methods), rows=5
    )
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
