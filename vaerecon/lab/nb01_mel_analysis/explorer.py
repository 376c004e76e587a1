"""A widget for the front-end's settings: the log-mel, and the sound that is recovered from it.

Griffin-Lim has few iterations, so that an update takes less than half a second for a clip of 5 s;
the sounds of the notebook's tables are better. Notebook: ``01_mel_analysis``.
"""

import time

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
from vaerecon.lab.widgets import Explorer, YourClip, labelled, picture, reported, row
from vaerecon.mel.config import AUDIOLDM_MEL, MelConfig
from vaerecon.mel.front_end import log_mel

ITERATIONS = 8  # of Griffin-Lim; see the curve in the notebook
LONGEST = 10.0  # s, of an uploaded clip


def compute_view(
    samples: torch.Tensor, config: MelConfig, n_iter: int = ITERATIONS
) -> tuple[torch.Tensor, torch.Tensor, str, str]:
    """Log-mel and recovered sound of normalised ``samples [N]``; the mel's size; facts in words."""
    empty = empty_filters(config)  # first: it suppresses librosa's later warning
    mel = log_mel(samples, config, normalize=False)
    sound = recover(samples, config, n_iter=n_iter)
    rate = config.frames_per_second
    title = (
        f"{config.n_mels} bins x {rate:g} frames/s = {config.n_mels * rate:,.0f} values/s, "
        f"windows of {1000 * config.n_fft / config.sample_rate:g} ms"
    )
    facts = f"MR-STFT distance of the recovered sound: {metrics.mrstft(samples, sound):.2f}."
    if empty:
        facts += f" {empty} of {config.n_mels} filters see no STFT bin: always silent."
    return mel, sound, title, facts


def _controls() -> dict[str, widgets.Widget]:
    """The sliders, by field of :class:`MelConfig`; ``range`` is ``fmin`` and ``fmax``."""
    model = AUDIOLDM_MEL
    windows, hops = (256, 512, 1024, 2048), (80, 160, 240, 320, 512)  # samples
    size = {"value": model.n_mels, "min": 8, "max": 128, "step": 4}
    limits = {"min": 0, "max": model.sample_rate // 2, "step": 100}
    hz = (int(model.fmin), int(model.fmax))
    choice = widgets.SelectionSlider
    return {
        "n_mels": labelled(widgets.IntSlider, "mel bins", **size),
        "n_fft": labelled(choice, "window (samples)", options=windows, value=model.n_fft),
        "hop_length": labelled(choice, "hop (samples)", options=hops, value=model.hop_length),
        "range": labelled(widgets.IntRangeSlider, "range (Hz)", value=hz, **limits),
    }


def explore_mel(clip: Clip, n_iter: int = ITERATIONS) -> Explorer:
    """A widget: the front-end's settings or a clip of one's own, the log-mel, and the player.

    An error is shown below the sliders; the last view stays, pale.
    """
    controls = _controls()
    defaults = {name: control.value for name, control in controls.items()}
    auto = {"icon": "undo", "layout": {"width": "auto"}}
    reset = widgets.Button(description="AudioLDM2's settings", **auto)
    default = widgets.Button(description="Default clip", **auto)
    own = YourClip(longest=LONGEST)
    status, facts, image = widgets.HTML(), widgets.HTML(), picture()
    samples = normalize_level(clip.samples)[0]
    player = ABPlayer(match_levels({"original": samples}))

    def show(heard: torch.Tensor) -> None:
        start = time.perf_counter()
        values = {name: control.value for name, control in controls.items()}
        low, high = values.pop("range")
        config = settings(**values, fmin=float(low), fmax=float(high))
        mel, sound, title, words = compute_view(heard, config, n_iter)
        image.value = figure_html(plot_settings(mel, config, title)[0], dpi=80)
        player.load(match_levels({"original": heard, "from the mel": sound}))
        facts.value = f"{words} ({time.perf_counter() - start:.2f} s)"

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
