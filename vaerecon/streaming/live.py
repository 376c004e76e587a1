"""Run a stream with a sound card: bounded queues, and a report of late and dropped blocks."""

import gc
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from vaerecon.streaming.stream import Stream

WAITING = 8  # largest number of blocks that wait to be computed
WARM = 20  # blocks of silence before the first block


def warm_up(stream: Stream) -> int:
    """Send silence through a stream, since first blocks are slow; return the samples per block."""
    size = round(stream.frames * stream.sample_rate / 100)
    for _ in range(WARM):
        stream.push(np.zeros(size))
    stream.flush()
    return size


class Line:
    """Passes blocks from a sound card's callback to a stream, and back.

    The output of a block is played ``buffer`` callbacks after its input. A block that is not ready
    in time is late: silence is played instead, and its output is discarded, so that the latency
    does not change. If :data:`WAITING` blocks are waiting already, a new one is dropped.
    """

    def __init__(self, stream: Stream, buffer: int = 1):
        self.stream, self.size = stream, warm_up(stream)
        self.coming: queue.Queue[np.ndarray | None] = queue.Queue(WAITING + 1)
        self.ready: queue.Queue[np.ndarray] = queue.Queue()
        self.latency = buffer * self.size  # samples, besides that of the stream
        for _ in range(buffer):
            self.ready.put(np.zeros(self.size, np.float32))
        self.blocks = self.late = self.dropped = self.owed = 0
        self.seconds: deque[float] = deque(maxlen=10_000)  # processor time of the last blocks
        self.total = self.card_latency = 0.0

    def exchange(self, new: np.ndarray) -> np.ndarray:
        """Take an input block and return an output block at once, for the callback."""
        self.blocks += 1
        if self.coming.qsize() >= WAITING:
            self.dropped += 1
            self.owed -= 1  # the block that will be missing below is never computed
        else:
            self.coming.put(new.copy())
        try:
            return self.ready.get_nowait()
        except queue.Empty:
            self.late += 1
            self.owed += 1
            return np.zeros(self.size, np.float32)

    def end(self) -> None:
        """Mark the end of the input."""
        self.coming.put(None)

    def work(self) -> None:
        """Compute the input blocks until :meth:`end`; call it outside the callback's thread."""
        gc.freeze()  # collecting garbage among the objects of torch and diffusers takes 5 blocks
        try:
            while (block := self.coming.get()) is not None:
                self._compute(block)
        finally:
            gc.unfreeze()

    def _compute(self, block: np.ndarray) -> None:
        started = time.thread_time()
        output = self.stream.push(block).numpy()
        spent = time.thread_time() - started
        self.total += spent
        self.seconds.append(spent)
        if self.owed > 0:
            self.owed -= 1
        else:
            self.ready.put(output)

    def report(self) -> str:
        """Return a text with the numbers of late and dropped blocks, and the processor time."""
        length = self.size / self.stream.sample_rate
        card = f"sound card: {1000 * self.card_latency:.0f} ms more\n" if self.card_latency else ""
        median, most = 1000 * np.quantile(list(self.seconds) or [0.0], [0.5, 0.99])
        load = self.total / length / max(1, self.blocks - self.dropped)
        return (
            f"{card}{self.blocks} blocks: {self.late} late (silence in their place), "
            f"{self.dropped} dropped (while {WAITING} waited)\n"
            f"processor time: {median:.1f} ms a block, 99 % at most {most:.1f} ms; "
            f"{load:.2f} of a core"
        )


def blocks_of(samples: np.ndarray, size: int, latency: int) -> Iterator[np.ndarray]:
    """Yield a sound in blocks of equal size, followed by zeros for the latency."""
    rest = -(len(samples) + latency) % size
    yield from np.pad(samples, (0, latency + rest)).reshape(-1, size)


def at_real_speed(
    line: Line, blocks: Iterator[np.ndarray], write: Callable[[np.ndarray], object]
) -> None:
    """Simulate a sound card: exchange a block each ``size`` samples of time, ready or not.

    ``write`` gets each output block.
    """

    def card() -> None:
        due = time.perf_counter()
        for block in blocks:
            due += line.size / line.stream.sample_rate
            time.sleep(max(0.0, due - time.perf_counter()))
            write(line.exchange(block))
        line.end()

    thread = threading.Thread(target=card, daemon=True)
    thread.start()
    line.work()
    thread.join()


def sound_cards() -> Any:
    """Return the module sounddevice; OSError, which tells what to install, if it is missing."""
    try:
        import sounddevice
    except ImportError:
        why, fix = "sounddevice is not installed", "pip install -e '.[live]' in a checkout"
    except OSError as error:  # the C library, which is not part of sounddevice on Linux
        why, fix = str(error), "on Debian and Ubuntu: apt install libportaudio2"
    else:
        return sounddevice
    raise OSError(f"sound card: {why}; {fix}; files need none")


def at_sound_card(
    card: Any, line: Line, mic: str | None, speaker: str | None,
    blocks: Iterator[np.ndarray] | None, write: Callable[[np.ndarray], object],
    seconds: float | None,
) -> None:  # fmt: skip
    """Run until ``blocks`` end, or for ``seconds`` of the microphone.

    ``mic`` and ``speaker`` are names, "" for the system's default, None for not used. Without a
    speaker ``write`` gets the output.
    """
    most = math.inf if seconds is None else seconds * line.stream.sample_rate / line.size

    def callback(*arrays: Any) -> None:  # indata, outdata, ... or one of the two, ...
        new = arrays[0][:, 0] if blocks is None else next(blocks, None)
        if new is None or (blocks is None and line.blocks >= most):
            raise card.CallbackStop
        output = line.exchange(new)
        if speaker is None:
            write(output)
        else:
            arrays[0 if mic is None else 1][:] = output[:, None]

    names = [name or None for name in (mic, speaker) if name is not None]
    kind = (
        card.InputStream if speaker is None else card.OutputStream if mic is None else card.Stream
    )
    opened = kind(line.stream.sample_rate, line.size, names if len(names) == 2 else names[0], 1,
                  "float32", callback=callback, finished_callback=line.end)  # fmt: skip
    with opened:
        line.card_latency = float(np.sum(opened.latency))
        line.work()


def whole_sound(stream: Stream, samples: np.ndarray) -> np.ndarray:
    """Send a whole sound through a stream, not in real time, and remove the latency."""
    pieces = [stream.push(piece) for piece in torch.from_numpy(samples).split(stream.sample_rate)]
    return torch.cat([*pieces, stream.flush()])[stream.latency :].numpy()
