"""What every explorer shares: its controls, errors shown in place, clips of the reader's own."""

import html
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import ipywidgets as widgets
import numpy as np
import traitlets
from matplotlib.figure import Figure

from vaerecon.audio.clip import Clip, load_audio
from vaerecon.audio.samples import SILENCE, ArrayLike
from vaerecon.lab.figures import figure_html
from vaerecon.lab.listening.levels import match_levels
from vaerecon.lab.listening.player import ABPlayer, Lasting
from vaerecon.lab.listening.recorder import Recorder

RECORDING = "recording.wav"
Control = TypeVar("Control", bound=widgets.DOMWidget)


class Explorer(Lasting, widgets.VBox):
    """Controls, texts, pictures and a player, one below the other.

    Where widgets do not run, all but the controls stay as they were when the explorer was shown.
    """

    def still(self) -> str:
        """Pictures, texts and players."""

        def of(widget: widgets.Widget) -> str:
            if isinstance(widget, ABPlayer):
                return widget.still()
            if isinstance(widget, widgets.HTML):
                return f"<div>{widget.value}</div>"
            return "".join(map(of, getattr(widget, "children", ())))

        return of(self)


def labelled(kind: type[Control], description: str, **traits: Any) -> Control:
    """A control with a wide label; a slider reports its value only when it is released."""
    if "continuous_update" in kind.class_trait_names():
        traits["continuous_update"] = False
    return kind(description=description, style={"description_width": "8em"}, **traits)


def row(*controls: widgets.Widget) -> widgets.HBox:
    """Controls beside each other, or below each other where the page is narrow."""
    return widgets.HBox(controls, layout={"flex_flow": "row wrap", "align_items": "flex-start"})


def picture() -> widgets.HTML:
    """A place for the HTML of a figure, never wider than the page."""
    layout = {"max_width": "calc(100% - 4px)", "align_self": "flex-start"}  # margins are 2 pixels
    return widgets.HTML(layout=layout)


def put_player(box: widgets.Box, tracks: Mapping[str, ArrayLike], title: str) -> None:
    """Put an A/B player into a box, in place of the one there; the first track gives the level."""
    player = ABPlayer(match_levels(tracks), title=title)
    remove_player(box)
    box.children = (player,)


def remove_player(box: widgets.Box) -> None:
    """Remove the player from a box, and free its memory."""
    old, box.children = box.children, ()
    for player in old:
        player.close()


def keep_up(box: widgets.Box, tracks: Callable[[], Mapping[str, ArrayLike]]) -> None:
    """Give other tracks to the player in a box, if there is one, so that it fits the figure."""
    for player in box.children:
        player.load(match_levels(tracks()))


@contextmanager
def reported(status: widgets.HTML, old: widgets.DOMWidget | None = None) -> Iterator[None]:
    """Show in ``status`` the error of the block, if a user can cause it, or its warnings.

    After an error ``old``, which shows what was before, is pale.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        try:
            yield
        except (ValueError, OSError, RuntimeError) as error:
            rules = ".vaerecon-old { opacity: 0.3; } .vaerecon-no { color: #d32f2f; }"
            text = f"<b>Not possible:</b> {html.escape(str(error))}"
            status.value = f'<style>{rules}</style><span class="vaerecon-no">{text}</span>'
            if old is not None:
                old.add_class("vaerecon-old")
            return
    if old is not None:
        old.remove_class("vaerecon-old")
    told = [html.escape(str(w.message)) for w in caught if w.category is UserWarning]
    status.value = "<br>".join(told)


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


class YourClip(widgets.HBox):
    """A clip of the reader's own: an uploaded file or a recording, whichever came last.

    Observe :attr:`given`. ``longest`` is in seconds, of a recording.
    """

    given = traitlets.Any(None)  # (name, content) of the file; None: neither

    def __init__(self, description: str = "Your clip", longest: float = 30.0) -> None:
        look = {"description": description, "layout": {"width": "auto"}}
        self.upload = widgets.FileUpload(accept="audio/*,.flac,.ogg,.wav,.mp3", **look)
        self.recorder = Recorder(longest=longest)
        self.name = widgets.Label()
        self.upload.observe(self._on_upload, "value")
        self.recorder.observe(self._on_recording, "content")
        parts = [self.upload, self.recorder, self.name]
        super().__init__(parts, layout={"flex_flow": "row wrap"})

    def _on_upload(self, change: dict[str, Any]) -> None:
        for file in change["new"]:
            self.given = (file["name"], bytes(file["content"]))
        if not change["new"] and self.given and self.given[0] != RECORDING:
            self.given = None

    def _on_recording(self, change: dict[str, Any]) -> None:
        self.given = (RECORDING, change["new"])
        self.upload.value = ()

    @traitlets.observe("given")
    def _show_name(self, change: dict[str, Any]) -> None:
        self.name.value = change["new"][0] if change["new"] else ""

    def clear(self) -> None:
        """Neither file nor recording."""
        self.given = None
        self.upload.value = ()

    def clip(self, max_length: float | None = None) -> Clip | None:
        """The clip, None without one; silence, or what cannot be read, is a ValueError."""
        if not self.given:
            return None
        name, content = self.given
        found = read_upload(name, content, max_length)
        if np.ptp(found.samples) <= 2 * SILENCE:
            raise ValueError(f"{name}: got only silence, expected sound; choose another")
        return found


def read_upload(name: str, content: bytes, max_length: float | None = None) -> Clip:
    """A clip from the bytes of an uploaded file; ``name`` gives its format and the clip's name.

    Errors are those of :func:`vaerecon.load_audio`, with the name of the uploaded file.
    """
    name = Path(name.replace("\\", "/")).name or "upload"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"upload{Path(name).suffix}"
        path.write_bytes(content)
        try:
            clip = load_audio(path, max_length=max_length)
        except (ValueError, OSError) as error:
            raise ValueError(str(error).replace(str(path), name)) from None
    return replace(clip, name=Path(name).stem)
