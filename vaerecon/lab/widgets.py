"""What every explorer shares: its controls, errors shown in place, uploaded clips."""

from __future__ import annotations

import base64
import html
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import ipywidgets as widgets

from vaerecon.audio.clip import Clip, load_audio
from vaerecon.lab.listening.player import ABPlayer, Lasting

Control = TypeVar("Control", bound=widgets.DOMWidget)


class Explorer(Lasting, widgets.VBox):
    """Controls, texts, pictures and a player, one below the other; without the controls they stay.

    They stay as they were when the explorer was shown.
    """

    def still(self) -> str:
        """Pictures, texts and players."""
        return _still(self)


def _still(widget: widgets.Widget) -> str:
    if isinstance(widget, ABPlayer):
        return widget.still()
    if isinstance(widget, widgets.HTML):
        return f"<div>{widget.value}</div>"
    if isinstance(widget, widgets.Image) and widget.value:
        data = base64.b64encode(widget.value).decode("ascii")
        return f'<img alt="What the explorer shows first" src="data:image/png;base64,{data}">'
    return "".join(_still(child) for child in getattr(widget, "children", ()))


def labelled(kind: type[Control], description: str, **traits: Any) -> Control:
    """A control with a wide label; a slider reports its value only when it is released."""
    if issubclass(kind, (widgets.FloatSlider, widgets.IntSlider, widgets.SelectionSlider)):
        traits.setdefault("continuous_update", False)
    traits.setdefault("style", {"description_width": "8em"})
    return kind(description=description, **traits)


@contextmanager
def reported(status: widgets.HTML) -> Iterator[None]:
    """Show in ``status`` the error of the block, if a user can cause it, or its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        try:
            yield
        except (ValueError, OSError, RuntimeError) as error:
            text = html.escape(str(error))
            status.value = f'<span style="color:#b00020"><b>Not possible:</b> {text}</span>'
            return
    told = [html.escape(str(w.message)) for w in caught if w.category is UserWarning]
    status.value = "<br>".join(told)


def upload_button(**traits: Any) -> widgets.FileUpload:
    """A button that takes one audio file."""
    return widgets.FileUpload(accept="audio/*,.flac,.ogg,.wav,.mp3", multiple=False, **traits)


def uploaded_clip(button: widgets.FileUpload, max_length: float | None = None) -> Clip | None:
    """The uploaded file as a clip, None without one; errors are those of :func:`read_upload`."""
    if not button.value:
        return None
    return read_upload(button.value[0]["name"], bytes(button.value[0]["content"]), max_length)


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
