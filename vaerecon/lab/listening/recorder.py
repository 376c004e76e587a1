"""Recorder: the browser's microphone as a widget."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import soundfile
import traitlets

FOLDER = Path(__file__).parent


def with_microphone(name: str) -> str:
    """A widget's script, after that of the microphone."""
    return "\n".join((FOLDER / file).read_text("utf-8") for file in ("microphone.js", name))


class Recorder(anywidget.AnyWidget):
    """A button that records what the microphone hears, until pressed again or ``longest`` s.

    The browser needs the page to be on https or localhost. :attr:`content` can be observed.
    """

    _esm = with_microphone("recorder.js")

    longest = traitlets.Float(30.0).tag(sync=True)  # s
    content = traitlets.Bytes()  # a WAV file of the last recording: one channel, the device's rate

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self.on_msg(self._on_recording)

    def _on_recording(self, _: Any, message: dict[str, Any], buffers: list[memoryview]) -> None:
        file = io.BytesIO()
        samples = np.frombuffer(buffers[0], "<i2")
        soundfile.write(file, samples, int(message["rate"]), format="WAV")
        self.content = file.getvalue()
