"""What the plots of several notebooks share, beside :mod:`vaerecon.plots`."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from vaerecon.plots import METHOD_COLORS

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
