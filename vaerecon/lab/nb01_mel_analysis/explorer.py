"""A widget around the front-end: move a setting, see the log-mel, hear what comes back from it.

:func:`compute_view` computes, :func:`vaerecon.lab.nb01_mel_analysis.plots.plot_settings` draws, and
the player of :mod:`vaerecon.lab.listening.player` plays. Griffin-Lim gets few iterations, so that a
change answers within half a second for a clip of 5 s; the sound of the notebook's tables is better.

Notebook: ``01_mel_analysis``.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import ipywidgets as widgets
import torch

from vaerecon import metrics
from vaerecon.audio.clip import Clip
from vaerecon.audio.samples import normalize_level
from vaerecon.lab.listening.levels import match_levels
from vaerecon.lab.listening.player import ABPlayer
from vaerecon.lab.nb01_mel_analysis.front_ends import empty_filters, settings
from vaerecon.lab.nb01_mel_analysis.plots import plot_settings
from vaerecon.lab.nb01_mel_analysis.recovery import recover
from vaerecon.lab.setup import png
from vaerecon.lab.widgets import read_upload, reported
from vaerecon.mel.config import AUDIOLDM_MEL, MelConfig
from vaerecon.mel.front_end import log_mel

ITERATIONS = 8  # of Griffin-Lim; most of the way, see the curve in the notebook
LONGEST = 10.0  # s, of an uploaded clip


@dataclass(frozen=True)
class View:
    """What one position of the sliders gives."""

    config: MelConfig
    mel: torch.Tensor  # [T, M], nepers
    sound: torch.Tensor  # [N], made from the mel alone
    distance: float  # MR-STFT distance of the sound from the original
    empty: int  # filters that see nothing

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
        """What came back, in a sentence."""
        text = f"MR-STFT distance of what came back: {self.distance:.2f}."
        if self.empty:
            text += f" {self.empty} of {self.config.n_mels} filters see no STFT bin: silent always."
        return text


def compute_view(samples: torch.Tensor, config: MelConfig, n_iter: int = ITERATIONS) -> View:
    """The log-mel of normalised ``samples [N]`` under ``config``, and the sound that it gives."""
    empty = empty_filters(config)  # first: it keeps librosa from warning of them later
    mel = log_mel(samples, config, normalize=False)
    sound = recover(samples, config, n_iter=n_iter)
    return View(config, mel, sound, metrics.mrstft(samples, sound), empty)


def _controls() -> dict[str, widgets.Widget]:
    """The sliders, by field of :class:`MelConfig`; ``range`` is ``fmin`` and ``fmax``."""
    model = AUDIOLDM_MEL
    controls = {
        "n_mels": widgets.IntSlider(
            value=model.n_mels, min=8, max=128, step=4, description="mel bins"
        ),
        "n_fft": widgets.SelectionSlider(
            options=(256, 512, 1024, 2048), value=model.n_fft, description="window (samples)"
        ),
        "hop_length": widgets.SelectionSlider(
            options=(80, 160, 240, 320, 512), value=model.hop_length, description="hop (samples)"
        ),
        "range": widgets.IntRangeSlider(
            value=(int(model.fmin), int(model.fmax)),
            min=0,
            max=model.sample_rate // 2,
            step=100,
            description="range (Hz)",
        ),
    }
    for control in controls.values():
        control.style, control.continuous_update = {"description_width": "11em"}, False
        control.layout.width = "34em"
    return controls


def _config(values: dict[str, object]) -> MelConfig:
    low, high = values["range"]
    others = {name: value for name, value in values.items() if name != "range"}
    return settings(**others, fmin=float(low), fmax=float(high))


def explore_mel(clip: Clip, n_iter: int = ITERATIONS) -> widgets.VBox:
    """Sliders for the front-end's settings, or a clip of one's own; the log-mel; the player.

    Returned, not displayed. What cannot be done is said below the sliders; the last view stays.
    """
    controls = _controls()
    reset = widgets.Button(
        description="AudioLDM2's settings", icon="undo", layout={"width": "auto"}
    )
    upload = widgets.FileUpload(
        accept="audio/*,.flac,.ogg,.wav,.mp3", multiple=False, description="Your clip"
    )
    status, facts, image = widgets.HTML(), widgets.HTML(), widgets.Image(format="png")
    samples = normalize_level(clip.samples)[0]
    player = ABPlayer(match_levels({"original": samples}))
    defaults = {name: control.value for name, control in controls.items()}

    def draw() -> None:
        start = time.perf_counter()
        view = compute_view(samples, _config({n: c.value for n, c in controls.items()}), n_iter)
        image.value = png(plot_settings(view.mel, view.config, view.title)[0], dpi=80)
        player.load(match_levels({"original": samples, "from the mel": view.sound}))
        facts.value = f"{view.facts} ({time.perf_counter() - start:.2f} s)"

    def changed(_: object = None) -> None:
        with reported(status):
            draw()

    def listen(to_changes: bool) -> None:
        for control in controls.values():
            (control.observe if to_changes else control.unobserve)(changed, "value")

    def back(_: object) -> None:
        listen(False)  # four changes, one picture
        for name, value in defaults.items():
            controls[name].value = value
        listen(True)
        changed()

    def uploaded(change: dict[str, tuple]) -> None:
        nonlocal samples
        with reported(status):
            if change["new"]:
                file = change["new"][0]
                found = read_upload(file["name"], bytes(file["content"]), LONGEST)
                samples = normalize_level(found.samples)[0]
                draw()

    listen(True)
    reset.on_click(back)
    upload.observe(uploaded, "value")
    changed()
    buttons = widgets.VBox([reset, upload])
    sliders = widgets.HBox([widgets.VBox(list(controls.values())), buttons])
    return widgets.VBox([sliders, status, image, facts, player])
