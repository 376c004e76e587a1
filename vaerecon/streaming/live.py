"""A stream beside a sound card: bounded queues, and what came late, told and counted."""

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

WAITING = 8  # blocks that may wait to be computed
WARM = 20  # blocks of silence before the first


def warm_up(stream: Stream) -> int:
    """Send silence through a stream, since the first blocks take longer; samples of a block."""
    size = round(stream.frames * stream.sample_rate / 100)
    for _ in range(WARM):
        stream.push(np.zeros(size))
    stream.flush()
    return size


class Line:
    """Carries blocks from a sound card's callback to a stream, and back.

    What goes out came in ``buffer`` callbacks before: so many blocks are always under way. A block
    that is not ready in time is late: silence is played in its place, and it is left out when it
    comes, so that the latency stays. Where :data:`WAITING` blocks wait already, the new one is
    dropped.
    """

    def __init__(self, stream: Stream, buffer: int = 1):
        self.stream, self.size = stream, warm_up(stream)
        self.coming: queue.Queue[np.ndarray | None] = queue.Queue(WAITING + 1)
        self.ready: queue.Queue[np.ndarray] = queue.Queue()
        self.latency = buffer * self.size  # samples, besides that of the stream
        for _ in range(buffer):
            self.ready.put(np.zeros(self.size, np.float32))
        self.blocks = self.late = self.dropped = self.owed = 0
        self.seconds: deque[float] = deque(maxlen=10_000)  # of processor time, of the last blocks
        self.total = self.card_latency = 0.0

    def exchange(self, new: np.ndarray) -> np.ndarray:
        """For the callback: a block in, a block out, at once."""
        self.blocks += 1
        if self.coming.qsize() >= WAITING:
            self.dropped += 1
            self.owed -= 1  # what will be missing below is not to come later
        else:
            self.coming.put(new.copy())
        try:
            return self.ready.get_nowait()
        except queue.Empty:
            self.late += 1
            self.owed += 1
            return np.zeros(self.size, np.float32)

    def end(self) -> None:
        """Nothing comes any more."""
        self.coming.put(None)

    def work(self) -> None:
        """Compute what comes until :meth:`end`; not in the callback's thread."""
        gc.freeze()  # to look through all objects of torch and diffusers takes 5 blocks
        try:
            while (block := self.coming.get()) is not None:
                self._compute(block)
        finally:
            gc.unfreeze()

    def _compute(self, block: np.ndarray) -> None:
        started = time.thread_time()
        found = self.stream.push(block).numpy()
        spent = time.thread_time() - started
        self.total += spent
        self.seconds.append(spent)
        if self.owed > 0:
            self.owed -= 1
        else:
            self.ready.put(found)

    def report(self) -> str:
        """What was late, what was dropped, and how much of a core it took."""
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
    """A sound in blocks of one size, and zeros until all of it is out again."""
    rest = -(len(samples) + latency) % size
    yield from np.pad(samples, (0, latency + rest)).reshape(-1, size)


def at_real_speed(
    line: Line, blocks: Iterator[np.ndarray], write: Callable[[np.ndarray], object]
) -> None:
    """What a sound card does: a block each ``size`` samples of time, whether ready or not.

    ``write`` gets each block that comes out.
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
    """The library of sound cards; OSError that says what to install if it is not there."""
    try:
        import sounddevice
    except ImportError:
        why, fix = "sounddevice is not installed", "pip install -e '.[live]' in a checkout"
    except OSError as error:  # the library in C, which Linux's packages leave to the system
        why, fix = str(error), "on Debian and Ubuntu: apt install libportaudio2"
    else:
        return sounddevice
    raise OSError(f"sound card: {why}; {fix}; files need none")


def at_sound_card(
    card: Any, line: Line, mic: str | None, speaker: str | None,
    blocks: Iterator[np.ndarray] | None, write: Callable[[np.ndarray], object],
    seconds: float | None,
) -> None:  # fmt: skip
    """Until ``blocks`` end, or after ``seconds`` of the microphone; no speaker: to ``write``.

    ``mic`` and ``speaker`` are names, "" that of the system's own, None: not used.
    """
    most = math.inf if seconds is None else seconds * line.stream.sample_rate / line.size

    def callback(*arrays: Any) -> None:  # indata, outdata, ... or one of the two, ...
        new = arrays[0][:, 0] if blocks is None else next(blocks, None)
        if new is None or (blocks is None and line.blocks >= most):
            raise card.CallbackStop
        found = line.exchange(new)
        if speaker is None:
            write(found)
        else:
            arrays[0 if mic is None else 1][:] = found[:, None]

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
    """A sound as fast as it goes, with the latency taken off."""
    pieces = [stream.push(piece) for piece in torch.from_numpy(samples).split(stream.sample_rate)]
    return torch.cat([*pieces, stream.flush()])[stream.latency :].numpy()
