"""What the plots of several notebooks share: colours, and log-mels below each other.

Conventions of :mod:`vaerecon.plots`: seconds, Hz, dB, nepers; panels that are compared share their
colour limits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from vaerecon.plots import METHOD_COLORS, level_limits, plot_log_mel

BLUE, ORANGE = METHOD_COLORS["vocoder"], METHOD_COLORS["griffinlim"]
GREEN, GREY = METHOD_COLORS["hybrid"], METHOD_COLORS["silence"]


def draw_picture(
    ax: Axes,
    values: np.ndarray,
    extent: tuple[float, float, float, float],
    colors: str,
    limits: tuple[float, float],
) -> AxesImage:
    """Draw values ``[bins, T]`` over ``extent`` (left, right, bottom, top)."""
    shape: dict[str, Any] = {"origin": "lower", "aspect": "auto", "interpolation": "nearest"}
    return ax.imshow(values, colors, extent=extent, vmin=limits[0], vmax=limits[1], **shape)


def stacked(rows: int, height: float) -> tuple[Figure, np.ndarray]:
    """A figure of ``height`` inches with ``rows`` axes below each other, on one horizontal axis."""
    figure = Figure(figsize=(10, height), layout="constrained")
    return figure, figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]


def plot_mels(
    mels: Mapping[str, torch.Tensor],
    limits: tuple[float, float] | None = None,
    differences: Mapping[str, torch.Tensor] | None = None,
    difference_limit: float = 2.0,  # nepers to both sides, as in plot_reconstruction
) -> tuple[Figure, np.ndarray]:
    """Log-mels ``[T, 64]`` below each other, by title, then differences of log-mels.

    All are on one time axis. The log-mels share one colour scale, ``limits``, by default from the
    loudest value of the first one to 9 nepers below; the differences share another one.
    """
    limits = limits or level_limits(float(next(iter(mels.values())).max()))
    rows = [(title, mel, limits) for title, mel in mels.items()]
    sides = (-difference_limit, difference_limit)
    rows += [(title, change, sides) for title, change in (differences or {}).items()]
    figure, axes = stacked(len(rows), 2.1 * len(rows))
    for i, (ax, (title, mel, scale)) in enumerate(zip(axes, rows, strict=True)):
        plot_log_mel(mel, ax, title=title, limits=scale, difference=i >= len(mels))
        ax.label_outer()
    return figure, axes
