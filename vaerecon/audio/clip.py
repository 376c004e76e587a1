"""Read sound files to :class:`Clip`, mixed down and resampled, and write WAV. Without torch.

Input: formats of libsndfile and ffmpeg, 8 to 192 kHz, one channel or many (their mean is taken),
integers (scaled to -1..1) or floats (kept as they are). Output: mono float32 at 16 kHz.

Files are read in blocks, so memory depends on the requested section, not on the file. Reading
starts at a whole second at least one second early and ends as much late; there the sample grids of
both rates coincide and the resampler has settled, so a section equals that of the whole file.

Notebook: ``01_mel_analysis``.

References
----------
.. [1] libsndfile, http://libsndfile.github.io/libsndfile/ (formats), through ``soundfile``.
.. [2] The SoX resampler library, https://sourceforge.net/projects/soxr/, at its "very high
   quality" setting: linear phase, no delay.
"""

import math
import os
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from vaerecon.audio.conversion import (
    as_float32_array,
    check_finite,
    check_max_length,
    check_rate,
    mix_down,
    resample_blocks,
)
from vaerecon.audio.decoding import OpenSoundFile, open_sound_file
from vaerecon.audio.paths import check_path, check_sound_file
from vaerecon.utils.files import name_to_text, text_to_name
from vaerecon.utils.numbers import is_number

SAMPLE_RATE = 16000  # Hz; AudioLDM2's, MelConfig.sample_rate
MARGIN = 1  # s, whole; read before and after a section (the resampler's filter is < 0.1 s)


@dataclass(frozen=True, eq=False)
class Clip:
    """Mono sound in memory, made by :func:`load_audio` or :meth:`from_samples`."""

    samples: np.ndarray  # [N] float32, finite, at least one
    sample_rate: int = SAMPLE_RATE  # Hz
    name: str = "clip"  # the file's stem

    def __post_init__(self) -> None:
        x = self.samples
        if not isinstance(x, np.ndarray) or x.dtype != np.float32 or x.ndim != 1 or not x.size:
            got = f"{getattr(x, 'dtype', type(x).__name__)} {list(np.shape(x))}"
            raise ValueError(
                f"samples: got {got}, expected a numpy float32 array [N]; "
                "use Clip.from_samples, which converts, mixes down and resamples"
            )
        check_finite(x, "samples")
        check_rate(self.sample_rate, "sample_rate")

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate

    @classmethod
    def from_samples(cls, samples: Any, sample_rate: int, name: str = "clip") -> Self:
        """Make a 16 kHz mono clip from an array.

        Parameters
        ----------
        samples
            ``[N]``, or ``[N, channels]`` as from soundfile (the mean is taken); a numpy array, a
            list or a torch tensor. Floats are kept; int16 and int32 are scaled to -1..1.
        sample_rate
            Sample rate of ``samples`` in Hz, 8000 to 192000.

        Raises
        ------
        ValueError
            For another layout, another integer type, no samples, or values that are not finite.
        """
        x = as_float32_array(samples)
        if x.ndim not in (1, 2) or (x.ndim == 2 and x.shape[0] <= x.shape[1]):
            raise ValueError(
                f"samples: got shape {list(x.shape)}, expected [N] or [N, channels]; "
                "if it is [channels, N], use samples.T, or samples[0] for the first channel"
            )
        rate = check_rate(sample_rate, "sample_rate")
        mono = x if x.ndim == 1 else mix_down(x, "samples")
        return cls(np.concatenate(list(resample_blocks([mono], rate, SAMPLE_RATE))), name=name)


def load_audio(
    path: str | os.PathLike[str],
    max_length: float | None = None,
    offset: float = 0.0,
    sample_rate: int = SAMPLE_RATE,
) -> Clip:
    """Read a sound file, or a section of it, as mono float32.

    Parameters
    ----------
    path
        wav, flac, ogg, mp3, ..., and by ffmpeg m4a and more. Concatenated streams are one sound.
    max_length
        Seconds to read at most; None reads to the end.
    offset
        Seconds to skip first, rounded to a sample of the result. Within 0.1 s for wma, within
        0.01 s for webm and mkv, whose time stamps are coarse.
    sample_rate
        Rate of the result, Hz.

    Returns
    -------
    Clip
        ``samples`` ``[N]``; for a file of ``M`` frames ``N = round(M * sample_rate / rate)``, at
        least one; unchanged at an equal rate. Named after the file, without its suffix.

    Raises
    ------
    OSError, ValueError
        If the file cannot be read or is not a sound file; if it has no samples or values that are
        not finite; or if ``offset`` or ``max_length`` are invalid.
    """
    with stream_audio(path, max_length, offset, sample_rate) as sound:
        return Clip(np.concatenate(list(sound.blocks)), sound.sample_rate, sound.name)


class SoundStream(NamedTuple):
    """A sound file that is read block by block."""

    name: str  # the file's stem
    sample_rate: int  # Hz, of the blocks
    seconds: float | None  # length of the section; None if the file does not state its length
    blocks: Iterator[np.ndarray]  # [n] mono float32, finite; can be read once


@contextmanager
def stream_audio(
    path: str | os.PathLike[str],
    max_length: float | None = None,
    offset: float = 0.0,
    sample_rate: int = SAMPLE_RATE,
) -> Iterator[SoundStream]:
    """Open a sound file to read in blocks, as :func:`load_audio`; bad data raise when reached."""
    check_max_length(max_length)
    if not (is_number(offset) and 0 <= offset < math.inf):
        raise ValueError(
            f"offset: got {offset!r}, expected a number of seconds, 0 or more (not text)"
        )
    sample_rate = check_rate(sample_rate, "sample_rate")
    check_path(path)
    path = text_to_name(path)
    name = check_sound_file(path)

    first = max(0, math.floor(offset) - MARGIN)
    last = None if max_length is None else math.ceil(offset + max_length) + MARGIN
    start = round(offset * sample_rate) - first * sample_rate
    stop = None if max_length is None else start + max(1, round(max_length * sample_rate))
    with open_sound_file(path, first, last) as source:
        check_rate(source.rate, name)
        seconds = source.seconds
        if seconds is not None:
            seconds = min(max(0.0, seconds - offset), max_length or math.inf)
        blocks = _section(source, name, start, stop, offset, sample_rate)
        yield SoundStream(name_to_text(Path(path).stem), sample_rate, seconds, blocks)


def look_at(path: str | os.PathLike[str], max_length: float | None = None) -> float | None:
    """Check that a file opens and its first block decodes; return the seconds to read, if known."""
    with stream_audio(path, max_length) as sound:
        next(sound.blocks, None)
        return sound.seconds


def _section(
    source: OpenSoundFile, name: str, start: int, stop: int | None, offset: float, sample_rate: int
) -> Iterator[np.ndarray]:
    """Yield mono blocks of an open file: samples ``start`` to ``stop`` at ``sample_rate``."""
    mono = (mix_down(block, name) for block in source.blocks)
    here = given = 0
    for block in resample_blocks(mono, source.rate, sample_rate):
        piece = block[max(0, start - here) : None if stop is None else max(0, stop - here)]
        here += len(block)
        if len(piece):
            given += len(piece)
            yield piece.copy()  # a view would keep the larger block
    for note in source.notes:
        warnings.warn(f"{name}: {note}", stacklevel=2)
    if not given and (offset == 0 or source.seconds == 0):
        raise ValueError(f"{name}: got no samples, expected at least one; is the file complete?")
    if not given:
        length = "" if source.seconds is None else f" ({source.seconds:g} s)"
        raise ValueError(
            f"offset: got {offset:g} s, expected less than the length of {name}{length}; "
            "choose a smaller one"
        )


def write_wav(path: str | os.PathLike[str], samples: Any, sample_rate: int = SAMPLE_RATE) -> None:
    """Write mono samples to a 32-bit float WAV file; equal samples give equal bytes.

    ``samples`` ``[N]`` are a numpy array, a list or a torch tensor; int16 and int32 are scaled to
    -1..1. Raises ValueError for another shape or type of samples, or an unsupported rate.
    """
    x = as_float32_array(samples)
    if x.ndim != 1:
        raise ValueError(
            f"samples: got shape {list(x.shape)}, expected [N]; "
            "write one clip at a time, mixed down, for example samples.mean(axis=-1)"
        )
    sample_rate = check_rate(sample_rate, "sample_rate")
    header = wav_header(len(x), sample_rate)
    with open(path, "wb") as file:
        file.write(header)
        file.write(x.astype("<f4", copy=False).data)


def wav_header(n_samples: int, sample_rate: int = SAMPLE_RATE) -> bytes:
    """Return the header of a mono 32-bit float WAV file of known length.

    soundfile would add the time of day (a PEAK chunk), and long files are written while they are
    computed. Raises ValueError above 4 GB, the limit of WAV (18 hours at 16 kHz).
    """
    size = 4 * n_samples  # bytes
    if size > 2**32 - 100:
        raise ValueError(
            f"samples: got {n_samples / sample_rate / 3600:.1f} hours at {sample_rate} Hz, more "
            "than the 4 GB of a WAV file; read less with max_length (--max-length)"
        )
    # format 3: floats, 1 channel; bytes per second, per frame; bits; no extension
    layout = struct.pack("<HHIIHHH", 3, 1, sample_rate, 4 * sample_rate, 4, 32, 0)
    head = b"WAVE" + b"fmt " + struct.pack("<I", len(layout)) + layout
    head += b"fact" + struct.pack("<II", 4, n_samples) + b"data" + struct.pack("<I", size)
    return b"RIFF" + struct.pack("<I", len(head) + size) + head
