"""Live mode: the browser's microphone through a stream, and back to the loudspeaker."""

from __future__ import annotations

from typing import Any

import anywidget
import numpy as np

from vaerecon.lab.listening.recorder import with_microphone
from vaerecon.pipeline.pipeline import ReconstructionPipeline
from vaerecon.streaming.live import WARM
from vaerecon.streaming.stream import RATE, Stream

KEPT = 10.0  # s


class LiveStream(anywidget.AnyWidget):
    """The microphone goes through a :class:`vaerecon.Stream` while it is heard.

    The browser needs the page to be on https or localhost. It plays nothing until "Listen" is
    checked. At most 8 blocks are under way to Python and back; meanwhile new ones are dropped.

    Parameters
    ----------
    pipe, setting
        As for :class:`vaerecon.Stream`, with its errors; ``sample_rate`` is the browser's.

    Attributes
    ----------
    sample_rate : int
        Hz, of the last run.
    dropped : int
        Blocks of the last run that the browser did not send.
    """

    _esm = with_microphone("live.js")

    def __init__(self, pipe: ReconstructionPipeline, **setting: Any) -> None:
        super().__init__()
        Stream(pipe, sample_rate=RATE, **setting)  # settings that cannot be are refused here
        self.pipe, self.setting = pipe, setting
        self.sample_rate, self.dropped = RATE, 0
        self._stream: Stream | None = None  # while it runs
        self._kept: list[tuple[np.ndarray, np.ndarray]] = []
        self.on_msg(self._on_message)

    @property
    def sent(self) -> np.ndarray:
        """What came to Python in the last run, ``[N]``, its first 10 s."""
        return np.concatenate([np.zeros(0, "f4"), *(block for block, _ in self._kept)])

    @property
    def received(self) -> np.ndarray:
        """What went back for :attr:`sent`, ``[N]``."""
        return np.concatenate([np.zeros(0, "f4"), *(found for _, found in self._kept)])

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
        size = round(stream.frames * rate / 100)
        for _ in range(WARM):  # the first blocks take longer
            stream.push(np.zeros(size))
        stream.flush()
        self._stream, self.sample_rate, self._kept = stream, rate, []
        self.send({"size": size, "latency": stream.latency / rate})

    def _pass_on(self, stream: Stream, block: np.ndarray) -> None:
        found = stream.push(block).numpy()
        self.send({}, [found.tobytes()])
        if (len(self._kept) + 1) * len(block) <= KEPT * self.sample_rate:
            self._kept.append((block, found))
