"""What the plots of several notebooks share, beside :mod:`vaerecon.plots`."""

import base64
import hashlib
import html
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import Collection, QuadMesh
from matplotlib.colors import to_rgb, to_rgba_array
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text

from vaerecon.plots import METHOD_COLORS, new_axes

BLUE, ORANGE = METHOD_COLORS["vocoder"], METHOD_COLORS["griffinlim"]
GREEN, GREY = METHOD_COLORS["hybrid"], METHOD_COLORS["silence"]
DARK = 0x11 / 0xFF  # JupyterLab's dark background
FAST_ON_DARK = "#9f24ff"  # still 15 or more from each colour of another method (CIELAB)
# arguments of imshow for values [bins, T], the first bin at the bottom
PICTURE: dict[str, Any] = {"origin": "lower", "aspect": "auto", "interpolation": "nearest"}
KINDS = (Collection, Line2D, Patch, Text)
COLORED = ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor")


def panels(
    n: int, columns: int, size: tuple[float, float], **shared: Any
) -> tuple[Figure, np.ndarray]:
    """A figure with ``n`` axes in at most ``columns`` columns; spare axes are invisible."""
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(math.ceil(n / columns), min(columns, n), squeeze=False, **shared)
    for ax in axes.flat[n:]:
        ax.set_visible(False)
    return figure, axes


def stacked(rows: int, height: float) -> tuple[Figure, np.ndarray]:
    """A figure of ``height`` inches with ``rows`` axes below each other, on one horizontal axis."""
    figure, axes = panels(rows, 1, (10, height), sharex=True)
    return figure, axes[:, 0]


def plot_bars(
    values: pd.Series, xlabel: str, text: str = "%.2f", color: Any = BLUE
) -> tuple[Figure, Axes]:
    """A horizontal bar for each value, with its number beside it; the first on top."""
    figure, ax = new_axes(None, (9, 0.4 * len(values) + 1))
    bars = ax.barh(list(values.index), values.to_numpy(), color=color)
    ax.bar_label(bars, fmt=f" {text}")
    ax.set(xlabel=xlabel, xlim=(0, 1.15 * values.max()))
    ax.invert_yaxis()
    return figure, ax


def draw_intervals(
    ax: Axes, names: Sequence[str], intervals: Iterable[Sequence[float]], colors: Sequence[str]
) -> None:
    """A point and its interval in each row, ``(mean, lower, upper)``; NaN ends: no interval."""
    for y, ((mean, lower, upper), color) in enumerate(zip(intervals, colors, strict=True)):
        spread = np.nan_to_num([[mean - lower], [upper - mean]])
        ax.errorbar(mean, y, xerr=spread, fmt="o", color=color, capsize=4)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.grid(axis="x", alpha=0.3)


@contextmanager
def darkened(figure: Figure) -> Iterator[Figure]:
    """A drawn figure, meanwhile in colours for a dark page: greys inverted, dark colours lighter.

    Pictures (log-mels) keep their colours, and so does what is drawn on them.
    """
    pictures = [ax for ax in figure.axes if ax.images or ax.findobj(QuadMesh)]
    on_pictures = {id(x) for ax in pictures for x in (*ax.lines, *ax.texts)}
    artists = figure.findobj(lambda x: isinstance(x, KINDS) and id(x) not in on_pictures)
    parts = [getattr(x, "arrow_patch", None) for x in artists]
    parts += [x.get_bbox_patch() for x in artists if isinstance(x, Text)]
    artists += [part for part in parts if part is not None]
    before, layout = [(x, dict(vars(x))) for x in artists], figure.get_layout_engine()
    figure.set_layout_engine("none")  # everything has its place, and keeps it
    try:
        for artist in artists:
            if isinstance(artist, ScalarMappable) and artist.get_array() is not None:
                continue  # coloured by its values
            colored = [x for x in COLORED if hasattr(artist, f"get_{x}")]
            # all of them are read first: a marker's colour may be that of its line
            colors = [_on_dark(getattr(artist, f"get_{x}")()) for x in colored]
            for what, color in zip(colored, colors, strict=True):
                getattr(artist, f"set_{what}")(color)
        yield figure
    finally:
        for artist, state in before:
            vars(artist).update(state)
        figure.set_layout_engine(layout)


def _on_dark(color: Any) -> Any:
    """One colour, or several: white becomes :data:`DARK`, black nearly white."""
    several = to_rgba_array(color)
    for rgb in several[:, :3]:
        if np.ptp(rgb) < 0.09:  # a grey
            rgb[:] = 0.9 - rgb.mean() * (0.9 - DARK)
        elif np.allclose(rgb, to_rgb(METHOD_COLORS["fast"])):
            rgb[:] = to_rgb(FAST_ON_DARK)
        else:
            while (rgb**2.2) @ (0.2126, 0.7152, 0.0722) < 0.117:  # a contrast of 3 to DARK
                rgb[:] = 0.95 * rgb + 0.05
    return tuple(several[0]) if len(several) == 1 else several if len(several) else "none"


def png(figure: Figure, dpi: int = 100) -> str:
    """A figure as PNG in base64."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=dpi)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def dark_style(figure: Figure, place: str, dpi: int = 100) -> str:
    """A style that puts the dark figure into an ``<img>`` where the page around it is dark.

    ``place`` is the image's CSS selector, in which ``{}`` is the class of the style. Where styles
    are removed, as in notebooks that JupyterLab does not trust, the figure stays as it is.
    """
    with darkened(figure):
        data = png(figure, dpi)
    name = f"vaerecon-{hashlib.sha256(data.encode()).hexdigest()[:12]}"
    image = place.format(name)
    rules = (
        f"{image} {{ --dark: url(data:image/png;base64,{data}); }}\n"
        f"body:is([data-jp-theme-light=false], .vscode-dark) {image} {{ content: var(--dark); }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ "
        f"body:not([data-jp-theme-light], .vscode-light) {image} {{ content: var(--dark); }} }}"
    )
    return f'<style class="{name}">{rules}</style>'


def figure_html(figure: Figure, dpi: int = 100) -> str:
    """A figure as an ``<img>``, for explorers; dark on a dark page."""
    image = f'<img class="vaerecon-figure" alt="{html.escape(description(figure))}" '
    image += f'style="max-width: 100%" src="data:image/png;base64,{png(figure, dpi)}">'
    return f"{image}{dark_style(figure, 'img:has(+ .{})', dpi)}"


def show(figure: Figure) -> None:
    """Display a figure below the cell, as PNG with a description for readers who cannot see it.

    A second output, which nobody sees, is the style for a dark page. VS Code takes the text for
    the description.
    """
    from IPython.display import display

    alt = description(figure)
    display({"image/png": png(figure), "text/plain": alt}, raw=True,
            metadata={"image/png": {"alt": alt}})  # fmt: skip
    style = dark_style(figure, ":is(.jp-OutputArea-child, .output_container):has(+ * .{}) img")
    display({"text/html": style, "text/plain": ""}, raw=True)


def description(figure: Figure) -> str:
    """The titles of a figure's panels, and in one sentence what their axes show."""
    axes = [ax for ax in figure.axes if ax.get_visible() and ax.get_label() != "<colorbar>"]
    over = figure.get_suptitle()
    titles = dict.fromkeys(t for t in (over, *(ax.get_title() for ax in axes)) if t)
    down = dict.fromkeys(label for ax in axes if (label := ax.get_ylabel()))
    across = dict.fromkeys(label for ax in axes if (label := ax.get_xlabel()))
    shown = " and ".join(", ".join(labels) for labels in (down, across) if labels)
    sentences = ["; ".join(titles) or "A figure", f"Its axes show {shown}" if shown else ""]
    return " ".join(f"{' '.join(text.split())}." for text in sentences if text)
