"""Explorers of a reconstruction: controls, a figure that follows them, a button to listen."""

from collections.abc import Callable, Mapping

import ipywidgets as widgets
from matplotlib.figure import Figure

from vaerecon.audio.samples import ArrayLike
from vaerecon.lab.figures import figure_html
from vaerecon.lab.widgets import Explorer, keep_up, picture, put_player, reported, row


def sound_explorer(
    controls: list[widgets.DOMWidget],
    plot: Callable[[], Figure],
    tracks: Callable[[], Mapping[str, ArrayLike]],
    title: str,
    *texts: widgets.HTML,
) -> Explorer:
    """Show ``plot()`` again when a control is moved, and play ``tracks()`` on demand.

    A player that is there follows the controls too. ``texts`` stand above the figure.
    """
    listen = widgets.Button(description="Listen", icon="play")
    status, image, sound = widgets.HTML(), picture(), widgets.VBox()

    def draw(_: object = None) -> None:
        with reported(status, image):
            image.value = figure_html(plot())
            keep_up(sound, tracks)

    def hear(_: object) -> None:
        with reported(status):
            put_player(sound, tracks(), title)

    for control in controls:
        control.observe(draw, "value")
    listen.on_click(hear)
    draw()
    return Explorer([row(*controls, listen), status, *texts, image, sound])
