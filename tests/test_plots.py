"""Plots are pure: what is drawn is what was given, on the axes that were given."""

from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from vaerecon.lab.figures import darkened, png
from vaerecon.mel.front_end import log_mel
from vaerecon.methods import METHODS
from vaerecon.plots import (
    METHOD_COLORS,
    mel_bin,
    plot_log_mel,
    save_figure,
)


def test_a_mel_is_drawn_upright_in_seconds(sound):
    mel = log_mel(sound)
    figure, ax = plot_log_mel(mel, title="a title")
    (image,) = ax.images
    assert np.array_equal(image.get_array(), mel.numpy().T)  # frequency upwards
    assert image.origin == "lower"
    assert image.get_extent()[:2] == [0, 1.0]  # 100 frames are one second
    assert ax.get_xlabel() == "time (s)"
    assert ax.get_title() == "a title"
    assert len(figure.axes) == 2  # with a colour bar


def test_given_axes_are_used():
    own = Figure().subplots()
    figure, ax = plot_log_mel(torch.zeros(10, 64), own)
    assert ax is own
    assert figure is own.figure


def test_differences_are_symmetric_around_zero():
    mel = torch.zeros(10, 64)
    mel[0, 0] = -3.0
    (image,) = plot_log_mel(mel, difference=True)[1].images
    low, high = image.get_clim()
    assert low == -high
    assert 0 < high < 3  # one value of 640 does not set the scale


def test_ticks_stand_where_a_tone_shows(sound):
    """The loudest bin of a pure tone is the one that the axis calls by its frequency."""
    t = np.arange(16000) / 16000
    for hz in (500.0, 1000.0, 4000.0):
        loudest = int(log_mel(np.sin(2 * np.pi * hz * t)).mean(dim=0).argmax())
        assert abs(float(mel_bin(hz)) - loudest) <= 0.75


def test_a_transposed_mel_is_refused():
    with pytest.raises(ValueError, match="looks transposed"):
        plot_log_mel(torch.zeros(64, 10))


def test_panels_of_a_reconstruction_share_their_limits(tiny, clip, tmp_path):
    result = tiny(clip, ["griffinlim", "vocoder"], exclude_metrics=["visqol", "pesq_wb"])
    figure, axes = result.plot()
    levels = [ax.images[0].get_clim() for ax in axes[:-1]]
    assert len(axes) == 5  # original, VAE, two methods, difference; silence is not drawn
    assert len(set(levels)) == 1
    _, high = axes[-1].images[0].get_clim()
    change = (result.mel_decoded - result.mel).abs().numpy()
    assert np.mean(change > high) == pytest.approx(0.005, abs=0.002)  # scaled to the data
    bars = [ax for ax in figure.axes if ax.get_label() == "<colorbar>"]
    assert [bar.get_ylabel() for bar in bars] == ["level (nepers)", "difference (nepers)"]
    assert bars[1]._colorbar.extend == "both"  # some values lie beyond
    save_figure(figure, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("whole", [False, True])
def test_silence_is_dark_on_the_usual_scale(tiny, whole):
    with pytest.warns(UserWarning, match="silent"):
        result = tiny(np.zeros(8000, np.float32), "griffinlim", exclude_metrics=["visqol"])
    axes = np.atleast_1d((result.plot() if whole else plot_log_mel(result.mel))[1])
    (image,) = axes[0].images
    low, high = image.get_clim()
    assert high - low == pytest.approx(9.0)
    assert float(image.norm(image.get_array()).max()) < 1e-3  # the darkest colour
    if whole:
        assert axes[0].get_title() == "clip: original (silent)"


def test_every_method_has_a_colour_of_its_own():
    assert set(METHODS) <= set(METHOD_COLORS)


def cielab(rgb: np.ndarray) -> np.ndarray:
    """``[..., 3]`` linear sRGB to CIELAB under D65 (CIE 15)."""
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.cbrt(rgb @ np.transpose(to_xyz) / [0.9505, 1, 1.089]).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


# of linear sRGB; G. Machado et al., "A Physiologically-based Model for Simulation of Color Vision
# Deficiency", IEEE TVCG 2009, severity 1
VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                   [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                     [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                   [0.004733, 0.691367, 0.303900]],
}  # fmt: skip


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("vision", VISION)
def test_methods_are_told_apart_by_their_colours(vision, dark):
    figure = Figure()
    lines = [figure.subplots().plot([0, 1], color=c)[0] for c in METHOD_COLORS.values()]
    with darkened(figure) if dark else nullcontext():
        rgb = np.array([to_rgb(line.get_color()) for line in lines])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = cielab(np.clip(linear @ np.transpose(VISION[vision]), 0, 1))
    apart = np.linalg.norm(seen[:, None] - seen[None], axis=-1)
    names = list(METHOD_COLORS)
    near = [(a, names[j]) for i, a in enumerate(names) for j in range(i) if apart[i, j] < 15]
    assert near == []


def test_a_dark_figure_can_be_read_and_keeps_its_pictures():
    """Text and lines have a contrast of 4.5 and 3 to the background; the figure stays as it was."""
    figure, ax = plot_log_mel(torch.zeros(10, 64), title="a title", difference=True)
    on_picture = ax.axvline(0.05, color="black")
    other = figure.add_subplot()
    other.xaxis.set_major_formatter(lambda x, _: f"{x} s")
    lines = other.plot([0, 1], "o-", color="black") + other.plot(
        [0, 1], color=METHOD_COLORS["fast"]
    )
    lines += other.plot([1, 0], "o-", color="black", markerfacecolor="none")
    groups = [other.vlines([0], 0, 1, color="black"), other.scatter([0], [1], color="black")]
    figure.set_layout_engine("none")  # places may change a little with each drawing
    before, colors = png(figure), ax.images[0].to_rgba([0.0])

    with darkened(figure):
        back = _luminance(figure.get_facecolor())
        assert back < 0.01
        for text in (ax.title, ax.xaxis.label, *other.get_xticklabels()):
            assert (_luminance(text.get_color()) + 0.05) / (back + 0.05) > 4.5
        drawn = [
            color for line in lines for color in (line.get_color(), line.get_markeredgecolor())
        ]
        drawn += [lines[0].get_markerfacecolor(), *(x.get_edgecolor()[0] for x in groups)]
        for color in drawn:
            assert (_luminance(color) + 0.05) / (back + 0.05) > 3
        assert on_picture.get_color() == "black"
        assert np.array_equal(ax.images[0].to_rgba([0.0]), colors)
        assert png(figure) != before
    assert png(figure) == before


def _luminance(color) -> float:
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


@pytest.mark.process
def test_the_core_does_not_import_matplotlib():
    code = (
        "import sys, vaerecon.pipeline.pipeline, vaerecon.cli.main\n"
        "sys.exit(any(m in sys.modules for m in ('matplotlib', 'IPython', 'ipywidgets')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
