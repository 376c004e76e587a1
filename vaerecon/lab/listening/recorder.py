"""The browser's microphone as widgets: recorded, or through a stream and back while it is heard."""

import io
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import soundfile
import traitlets

from vaerecon.pipeline.pipeline import ReconstructionPipeline
from vaerecon.streaming.live import warm_up
from vaerecon.streaming.stream import RATE, Stream

FOLDER = Path(__file__).parent
KEPT = 10.0  # s of a stream


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


class LiveStream(anywidget.AnyWidget):
    """The microphone goes through a :class:`vaerecon.Stream` while it is heard.

    ``pipe`` and ``setting`` are those of the stream, with its errors; ``sample_rate`` is the
    browser's, Hz. The browser needs the page to be on https or localhost. It plays nothing until
    "Listen" is checked. At most 8 blocks are under way to Python and back; meanwhile new ones are
    dropped, and counted in ``dropped``. ``sent`` has what came to Python in the last run, ``[N]``,
    its first 10 s, and ``received`` what went back for it.
    """

    _esm = with_microphone("live.js")

    def __init__(self, pipe: ReconstructionPipeline, **setting: Any) -> None:
        super().__init__()
        Stream(pipe, sample_rate=RATE, **setting)  # settings that cannot be are refused here
        self.pipe, self.setting = pipe, setting
        self.sample_rate, self.dropped = RATE, 0
        self.sent = self.received = np.zeros(0, np.float32)
        self._stream: Stream | None = None  # while it runs
        self.on_msg(self._on_message)

    def _on_message(self, _: Any, message: dict[str, Any], buffers: list[memoryview]) -> None:
        self.dropped = int(message["dropped"])
        try:
            if "rate" in message:
                self._start(int(message["rate"]))
            elif not buffers:  # stopped
                self._stream = None
            elif self._stream is not None:
                self._pass_on(self._stream, np.frombuffer(buffers[0], "<f4").copy())
        except (ValueError, RuntimeError) as error:
            self._stream = None
            self.send({"error": str(error)})

    def _start(self, rate: int) -> None:
        stream = Stream(self.pipe, sample_rate=rate, **self.setting)
        size = warm_up(stream)
        self._stream, self.sample_rate = stream, rate
        self.sent = self.received = np.zeros(0, np.float32)
        self.send({"size": size, "latency": stream.latency / rate})

    def _pass_on(self, stream: Stream, block: np.ndarray) -> None:
        found = stream.push(block).numpy()
        self.send({}, [found.tobytes()])
        if len(self.sent) + len(block) <= KEPT * self.sample_rate:
            self.sent = np.concatenate([self.sent, block])
            self.received = np.concatenate([self.received, found])
