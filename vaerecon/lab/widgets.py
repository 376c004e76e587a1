"""What every explorer shares: messages in place, and a clip of one's own."""

from __future__ import annotations

import html
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import ipywidgets as widgets

from vaerecon.audio.clip import Clip, load_audio


@contextmanager
def reported(status: widgets.HTML, done: str = "") -> Iterator[None]:
    """Show in ``status`` what goes wrong in the block, or the warnings that it gave, or ``done``.

    Only what a user can cause is caught; anything else is a bug and comes through.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        try:
            yield
        except (ValueError, OSError, RuntimeError) as error:
            text = html.escape(str(error))
            status.value = f'<span style="color:#b00020"><b>Not possible:</b> {text}</span>'
            return
    told = [html.escape(str(w.message)) for w in caught if w.category is UserWarning]
    status.value = "<br>".join(told) or html.escape(done)


def read_upload(name: str, content: bytes, max_length: float | None = None) -> Clip:
    """A clip from the bytes of an uploaded file; ``name`` gives its kind and the clip's name.

    Raises
    ------
    ValueError, OSError
        Those of :func:`vaerecon.load_audio`, with the file's own name in them.
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
