"""A widget for the front-end's settings: the log-mel, and the sound that is recovered from it.

Griffin-Lim has few iterations, so that an update takes less than half a second for a clip of 5 s;
the sounds of the notebook's tables are better. Notebook: ``01_mel_analysis``.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import ipywidgets as widgets
import torch

from vaerecon import metrics
from vaerecon.audio.clip import Clip
from vaerecon.audio.samples import normalize_level
from vaerecon.lab.figures import figure_html
from vaerecon.lab.listening.levels import match_levels
from vaerecon.lab.listening.player import ABPlayer
from vaerecon.lab.nb01_mel_analysis.front_ends import empty_filters, settings
from vaerecon.lab.nb01_mel_analysis.plots import plot_settings
from vaerecon.lab.nb01_mel_analysis.recovery import recover
from vaerecon.lab.widgets import Explorer, YourClip, picture, reported, row
from vaerecon.mel.config import AUDIOLDM_MEL, MelConfig
from vaerecon.mel.front_end import log_mel

ITERATIONS = 8  # of Griffin-Lim; see the curve in the notebook
LONGEST = 10.0  # s, of an uploaded clip


@dataclass(frozen=True)
class View:
    """The mel and the sound for one setting of the sliders."""

    config: MelConfig
    mel: torch.Tensor  # [T, M], nepers
    sound: torch.Tensor  # [N], recovered from the mel alone
    distance: float  # MR-STFT distance of the sound from the original
    empty: int  # filters without an STFT bin

    @property
    def title(self) -> str:
        """The size of this mel, for the picture."""
        config = self.config
        rate = config.frames_per_second
        return (
            f"{config.n_mels} bins x {rate:g} frames/s = {config.n_mels * rate:,.0f} values/s, "
            f"windows of {1000 * config.n_fft / config.sample_rate:g} ms"
        )

    @property
    def facts(self) -> str:
        """The distance and the empty filters, in a sentence."""
        text = f"MR-STFT distance of the recovered sound: {self.distance:.2f}."
        if self.empty:
            text += f" {self.empty} of {self.config.n_mels} filters see no STFT bin: always silent."
        return text


def compute_view(samples: torch.Tensor, config: MelConfig, n_iter: int = ITERATIONS) -> View:
    """The log-mel of normalised ``samples [N]`` with ``config``, and the recovered sound."""
    empty = empty_filters(config)  # first: it suppresses librosa's later warning
    mel = log_mel(samples, config, normalize=False)
    sound = recover(samples, config, n_iter=n_iter)
    return View(config, mel, sound, metrics.mrstft(samples, sound), empty)


def _controls() -> dict[str, widgets.Widget]:
    """The sliders, by field of :class:`MelConfig`; ``range`` is ``fmin`` and ``fmax``."""
    model = AUDIOLDM_MEL
    look: dict[str, Any] = {"style": {"description_width": "11em"}, "continuous_update": False}
    look["layout"] = {"width": "auto"}
    limits = {"min": 0, "max": model.sample_rate // 2, "step": 100}
    windows, hops = (256, 512, 1024, 2048), (80, 160, 240, 320, 512)  # samples
    return {
        "n_mels": widgets.IntSlider(model.n_mels, 8, 128, 4, description="mel bins", **look),
        "n_fft": widgets.SelectionSlider(
            options=windows, value=model.n_fft, description="window (samples)", **look
        ),
        "hop_length": widgets.SelectionSlider(
            options=hops, value=model.hop_length, description="hop (samples)", **look
        ),
        "range": widgets.IntRangeSlider(
            value=(int(model.fmin), int(model.fmax)), description="range (Hz)", **limits, **look
        ),
    }


def _config(controls: dict[str, widgets.Widget]) -> MelConfig:
    values = {name: control.value for name, control in controls.items()}
    low, high = values.pop("range")
    return settings(**values, fmin=float(low), fmax=float(high))


def explore_mel(clip: Clip, n_iter: int = ITERATIONS) -> Explorer:
    """A widget: the front-end's settings or a clip of one's own, the log-mel, and the player.

    An error is shown below the sliders; the last view stays, pale.
    """
    controls = _controls()
    reset = widgets.Button(
        description="AudioLDM2's settings", icon="undo", layout={"width": "auto"}
    )
    default = widgets.Button(description="Default clip", icon="undo", layout={"width": "auto"})
    own = YourClip(longest=LONGEST)
    status, facts, image = widgets.HTML(), widgets.HTML(), picture()
    samples = normalize_level(clip.samples)[0]
    player = ABPlayer(match_levels({"original": samples}))
    defaults = {name: control.value for name, control in controls.items()}

    def show(heard: torch.Tensor) -> None:
        start = time.perf_counter()
        view = compute_view(heard, _config(controls), n_iter)
        image.value = figure_html(plot_settings(view.mel, view.config, view.title)[0], dpi=80)
        player.load(match_levels({"original": heard, "from the mel": view.sound}))
        facts.value = f"{view.facts} ({time.perf_counter() - start:.2f} s)"

    def draw(_: object = None) -> None:
        with reported(status, image):
            show(samples)

    def take(_: object) -> None:
        nonlocal samples
        with reported(status, image):
            heard = normalize_level((own.clip(LONGEST) or clip).samples)[0]
            show(heard)
            samples = heard  # only what could be shown

    def restore(_: object) -> None:
        for control in controls.values():
            control.unobserve(draw, "value")  # four changes, one plot
        for name, control in controls.items():
            control.value = defaults[name]
            control.observe(draw, "value")
        draw()

    for control in controls.values():
        control.observe(draw, "value")
    own.observe(take, "given")
    reset.on_click(restore)
    default.on_click(lambda _: own.clear())
    draw()
    sliders = widgets.VBox([*controls.values()], layout={"flex": "1 1 22em", "max_width": "34em"})
    beside = widgets.VBox([reset, own, default], layout={"align_items": "flex-start"})
    return Explorer([row(sliders, beside), status, image, facts, player])
