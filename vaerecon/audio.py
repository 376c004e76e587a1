"""Sound files to :class:`Clip` and back: read, mix down, resample, write.

What comes in: wav, flac, ogg, mp3 and whatever else libsndfile reads; m4a and the rest through
ffmpeg, if it is installed. 8 to 192 kHz, one channel or many (their mean is taken), integers
(scaled to -1..1) or floats (kept as they are, also beyond 1). What comes out: mono float32 at
16 kHz.

Everything is streamed in blocks, so memory follows what is asked for, not the file: ten seconds
of a three-hour file cost ten seconds. Reading starts at a whole second at least one second early
and ends as much late; there the grids of both rates coincide and the resampler has settled, so a
section equals the same section of the whole file.

This module needs numpy, soundfile and soxr only; it does not import torch.

Notebook: ``01_mel_analysis``.

References
----------
.. [1] libsndfile, http://libsndfile.github.io/libsndfile/ (formats), through ``soundfile``.
.. [2] The SoX resampler library, https://sourceforge.net/projects/soxr/, at its "very high
   quality" setting: linear phase, no delay.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import stat
import struct
import subprocess
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import soxr

SAMPLE_RATE = 16000  # Hz; AudioLDM2's, MelConfig.sample_rate
RATES = range(8000, 192001)  # Hz; what is accepted, in files and arrays
BLOCK = 2**18  # values (all channels) read at once: 1 MiB
MARGIN = 1  # s, whole; read before and after a section (the resampler's filter is < 0.1 s)
# Containers that ffmpeg may open. Playlists are not among them: they name other files and hosts.
FFMPEG_FORMATS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,dts,eac3,flac,flv,matroska,mov,mp3,mpc,mpc8,mpeg,"
    "mpegts,ogg,tak,tta,w64,wav,wv"
)


@dataclass(frozen=True, eq=False)
class Clip:
    """A piece of mono sound in memory.

    Made by :func:`load_audio` from a file or by :meth:`from_samples` from an array.
    """

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
        _check_finite(x, "samples")
        _check_rate(self.sample_rate, "sample_rate")

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate

    @classmethod
    def from_samples(cls, samples: Any, sample_rate: int, name: str = "clip") -> Clip:
        """Make a 16 kHz mono clip from an array.

        Parameters
        ----------
        samples
            ``[N]``, or ``[N, channels]`` as soundfile gives them (the mean is taken); numpy, a
            list, a torch tensor. Floats of any level, kept; int16 and int32 are scaled to -1..1.
        sample_rate
            Rate of ``samples``, Hz, 8000 to 192000.
        name
            What to call it in tables and file names.

        Raises
        ------
        ValueError
            For another layout (``[channels, N]`` is refused, not guessed), other integers,
            no samples, or values that are not finite.
        """
        x = _as_float32(samples)
        if x.ndim not in (1, 2) or (x.ndim == 2 and x.shape[0] <= x.shape[1]):
            raise ValueError(
                f"samples: got shape {list(x.shape)}, expected [N] or [N, channels]; "
                "if it is [channels, N], use samples.T, or samples[0] for the first channel"
            )
        rate = _check_rate(sample_rate, "sample_rate")
        mono = x if x.ndim == 1 else _mix_down(x, "samples")
        return cls(np.concatenate(list(_resample([mono], rate, SAMPLE_RATE))), name=name)


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
        wav, flac, ogg, mp3, ..., or with ffmpeg installed m4a and more.
    max_length
        Seconds to read at most; None reads to the end.
    offset
        Seconds to skip first, rounded to a sample of the result. Exact, but for wma (within
        0.1 s), webm and mkv (within 0.01 s), whose time stamps are coarse.
    sample_rate
        Rate of the result, Hz.

    Returns
    -------
    Clip
        ``samples`` ``[N]``; for a file of ``M`` frames ``N = round(M * sample_rate / rate)``,
        at least one. At an equal rate the file's values are returned unchanged. Named after the
        file, without its suffix.

    Raises
    ------
    FileNotFoundError, IsADirectoryError, PermissionError
        If there is no file to read.
    ValueError
        If it is no sound, holds no samples or values that are not finite, or if ``offset`` or
        ``max_length`` do not fit.

    References
    ----------
    Module docstring, [1]_ and [2]_. Shown in ``notebooks/01_mel_analysis.ipynb``.
    """
    with stream_audio(path, max_length, offset, sample_rate) as sound:
        return Clip(np.concatenate(list(sound.blocks)), sound.sample_rate, sound.name)


class SoundStream(NamedTuple):
    """A sound file that is read block by block."""

    name: str  # the file's stem
    sample_rate: int  # Hz, of the blocks
    seconds: float | None  # length of the section, where the file tells it
    blocks: Iterator[np.ndarray]  # [n] mono float32, finite, to be read once


@contextmanager
def stream_audio(
    path: str | os.PathLike[str],
    max_length: float | None = None,
    offset: float = 0.0,
    sample_rate: int = SAMPLE_RATE,
) -> Iterator[SoundStream]:
    """Open a sound file, or a section of it, to read it in blocks: any length in flat memory.

    Parameters, samples and errors are those of :func:`load_audio`. What is wrong with the file as a
    whole is raised when it is opened, what is wrong with its data where it is met.
    """
    if max_length is not None and not 0 < max_length < math.inf:
        raise ValueError(
            f"max_length: got {max_length!r}, expected a positive number of seconds; "
            "use None for the whole file"
        )
    if not 0 <= offset < math.inf:
        raise ValueError(f"offset: got {offset!r}, expected a number of seconds, 0 or more")
    sample_rate = _check_rate(sample_rate, "sample_rate")
    name = _check_file(path)

    first = max(0, math.floor(offset) - MARGIN)
    last = None if max_length is None else math.ceil(offset + max_length) + MARGIN
    start = round(offset * sample_rate) - first * sample_rate
    stop = None if max_length is None else start + max(1, round(max_length * sample_rate))
    with _open(path, first, last) as source:
        _check_rate(source.rate, name)
        seconds = source.seconds
        if seconds is not None:
            seconds = min(max(0.0, seconds - offset), max_length or math.inf)
        blocks = _section(source, name, start, stop, offset, sample_rate)
        yield SoundStream(_stem(path), sample_rate, seconds, blocks)


def look_at(path: str | os.PathLike[str], max_length: float | None = None) -> float | None:
    """Check that a file opens and begins as sound; seconds that would be read, where it tells.

    Raises
    ------
    ValueError, OSError
        Those of :func:`load_audio`, but for what is wrong behind the first block.
    """
    with stream_audio(path, max_length) as sound:
        next(sound.blocks, None)
        return sound.seconds


def _section(
    source: _Source, name: str, start: int, stop: int | None, offset: float, sample_rate: int
) -> Iterator[np.ndarray]:
    """Mono blocks of an open source at ``sample_rate``, from sample ``start`` to ``stop`` of it."""
    mono = (_mix_down(block, name) for block in source.blocks)
    here, given = 0, 0
    for block in _resample(mono, source.rate, sample_rate):
        piece = block[max(0, start - here) : None if stop is None else max(0, stop - here)]
        here += len(block)
        if len(piece):
            given += len(piece)
            yield piece.copy()  # not the larger block with it
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
    """Write mono samples to a 32-bit float WAV file.

    Float, because 16-bit PCM would clip what goes beyond 1 and round what is quiet: here what is
    written is, bit for bit, what was computed. The same samples give the same bytes.

    Parameters
    ----------
    path
        File to write; replaced if it exists.
    samples
        ``[N]``; numpy, a list, a torch tensor. int16 and int32 are scaled to -1..1.
    sample_rate
        Hz, 8000 to 192000.

    Raises
    ------
    ValueError
        For another shape, no samples, or values that are not finite.
    OSError
        If the file cannot be written.
    """
    x = _as_float32(samples)
    if x.ndim != 1:
        raise ValueError(
            f"samples: got shape {list(x.shape)}, expected [N]; "
            "write one clip at a time, mixed down, for example samples.mean(axis=-1)"
        )
    sample_rate = _check_rate(sample_rate, "sample_rate")
    header = wav_header(len(x), sample_rate)
    with open(path, "wb") as file:
        file.write(header)
        file.write(x.astype("<f4", copy=False).data)


def wav_header(n_samples: int, sample_rate: int = SAMPLE_RATE) -> bytes:
    """What stands before the samples in a mono 32-bit float WAV file of known length.

    Made here because soundfile would write the time of day into it (a PEAK chunk), and because a
    long file is written as it is computed.

    Raises
    ------
    ValueError
        If the file would be larger than 4 GB, which WAV cannot say (18 hours at 16 kHz).
    """
    size = 4 * n_samples  # bytes
    if size > 2**32 - 100:
        raise ValueError(
            f"samples: got {n_samples / sample_rate / 3600:.1f} hours at {sample_rate} Hz, more "
            "than the 4 GB of a WAV file; read less with max_length (--max-length)"
        )
    # format 3: floats, 1 channel; bytes per second, per frame; bits; no extension
    layout = struct.pack("<HHIIHHH", 3, 1, sample_rate, 4 * sample_rate, 4, 32, 0)
    chunks = (
        b"WAVE",
        *(b"fmt ", struct.pack("<I", len(layout)), layout),
        *(b"fact", struct.pack("<II", 4, n_samples)),
        *(b"data", struct.pack("<I", size)),
    )
    head = b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(head) + size) + head


# Reading: a source of blocks, by libsndfile or by ffmpeg


class _Source(NamedTuple):
    """An open sound file, placed at the first second that is wanted."""

    rate: int  # Hz
    seconds: float | None  # length of the whole file, where it is known
    blocks: Iterator[np.ndarray]  # [n, channels] float32
    notes: list[str]  # what went wrong without being fatal; complete after the last block


@contextmanager
def _open(path: str | os.PathLike[str], first: int, last: int | None) -> Iterator[_Source]:
    """Open ``path`` to read from second ``first`` up to ``last``: libsndfile, else ffmpeg."""
    try:
        # an absolute path, because libsndfile takes "-" for the standard input; as bytes where
        # names are bytes, which need not be UTF-8
        place = os.path.abspath(path)
        sound = soundfile.SoundFile(place if os.name == "nt" else os.fsencode(place))
        guessed = sound.format == "MP3" and not _mp3_has_length(path)
    except (soundfile.LibsndfileError, TypeError):  # TypeError: headerless .raw
        sound, guessed = None, False
    ffmpeg = shutil.which("ffmpeg")
    with sound or nullcontext():
        if sound is not None and not (guessed and ffmpeg):
            source = _from_libsndfile(sound, repr(os.fspath(path)), first, last)
            if guessed:
                source.notes.append(
                    "no length in its header: guessed from the first bit rate, and a file of "
                    "variable bit rate is cut short; install ffmpeg or convert to wav/flac"
                )
            yield source
        elif ffmpeg:
            with _from_ffmpeg(ffmpeg, path, first, last) as source:
                yield source
        else:
            raise ValueError(
                f"got {os.fspath(path)!r}, libsndfile cannot read it; "
                "install ffmpeg or convert to wav/flac"
            )


def _from_libsndfile(
    sound: soundfile.SoundFile, name: str, first: int, last: int | None
) -> _Source:
    """Blocks of an open libsndfile handle."""
    rate, frames, notes = sound.samplerate, sound.frames, []

    def blocks() -> Iterator[np.ndarray]:
        here = first * rate
        stop = frames if last is None else min(frames, last * rate)
        try:
            if 0 < here < stop:
                sound.seek(here)
            while here < stop:
                wanted = min(max(1, BLOCK // sound.channels), stop - here)
                block = sound.read(wanted, dtype="float32", always_2d=True)
                if not len(block):
                    notes.append(f"incomplete: ends at {here / rate:g} s of {frames / rate:g} s")
                    break
                here += len(block)
                yield block
        except soundfile.LibsndfileError as error:
            raise ValueError(
                f"{name}: got damaged data after {here / rate:g} s ({error.error_string}), "
                "expected a whole file; get it again, or read less with max_length"
            ) from None

    return _Source(rate, frames / rate, blocks(), notes)


@contextmanager
def _from_ffmpeg(
    ffmpeg: str, path: str | os.PathLike[str], first: int, last: int | None
) -> Iterator[_Source]:
    """Blocks that ffmpeg decodes, at the file's own rate and channels, through a pipe."""
    command = [ffmpeg, "-nostdin", "-v", "error"]
    command += ["-protocol_whitelist", "file", "-format_whitelist", FFMPEG_FORMATS]
    command += ["-ss", str(first)] if first else []
    command += ["-t", str(last - first)] if last is not None else []
    # "file:" keeps names with a leading dash or a colon from being read as something else
    command += ["-i", f"file:{os.fspath(path)}", "-vn", "-f", "au", "-c:a", "pcm_f32be", "pipe:1"]
    notes: list[str] = []
    with (
        tempfile.TemporaryFile() as messages,
        subprocess.Popen(  # noqa: S603 (a list of arguments, no shell)
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=messages
        ) as process,
    ):

        def complaint() -> str:
            process.wait()
            messages.seek(0)
            text = messages.read().decode(errors="replace")
            text = re.sub(r" @ 0x[0-9a-f]+|(?<=whitelist) '[^']*'", "", text)
            return " ".join(text.split())[:200]

        def blocks() -> Iterator[np.ndarray]:
            frame = 4 * channels  # bytes
            while data := process.stdout.read(max(1, BLOCK // channels) * frame):
                whole = data[: len(data) // frame * frame]
                yield np.frombuffer(whole, ">f4").astype(np.float32).reshape(-1, channels)
            if text := complaint():
                notes.append(f"ffmpeg met errors, the sound may be damaged: {text}")

        try:
            # Sun AU: magic, size of the header, size of the data, encoding, rate, channels
            header = process.stdout.read(24)
            if len(header) < 24:
                raise ValueError(
                    f"got {os.fspath(path)!r}, neither libsndfile nor ffmpeg can read it "
                    f"({complaint()}); expected a sound file: is it complete, is it sound at all?"
                )
            _, size, _, _, rate, channels = struct.unpack(">4s5I", header)
            process.stdout.read(size - len(header))
            yield _Source(rate, None, blocks(), notes)
        finally:
            process.kill()


def _mp3_has_length(path: str | os.PathLike[str]) -> bool:
    """Whether an MP3's first frame is a Xing, Info or VBRI header, which says how long it is."""
    with open(path, "rb") as file:
        head = file.read(10)
        if head[:3] == b"ID3":  # skip the tag; its size is 4 bytes of 7 bits
            size = sum(byte << 7 * (3 - i) for i, byte in enumerate(head[6:10]))
            file.seek(10 + size)
            head = b""
        frame = head + file.read(4096)
    return any(tag in frame for tag in (b"Xing", b"Info", b"VBRI"))


# Steps that files and arrays share


def _resample(blocks: Iterable[np.ndarray], rate: int, target: int) -> Iterator[np.ndarray]:
    """Mono blocks at another rate: ``round(N * target / rate)`` samples in all, at least one."""
    if rate == target:
        yield from blocks
        return
    stream = soxr.ResampleStream(rate, target, 1, dtype="float32", quality="VHQ")
    total, n_in, n_out = 0.0, 0, 0
    for block in blocks:
        out = stream.resample_chunk(block)
        total, n_in, n_out = total + float(block.sum()), n_in + len(block), n_out + len(out)
        yield out
    if n_in:
        out = stream.resample_chunk(np.zeros(0, np.float32), last=True)
        # fewer samples than make one at the target rate: their mean
        yield out if n_out + len(out) else np.array([total / n_in], np.float32)


def _mix_down(block: np.ndarray, name: str) -> np.ndarray:
    """``[n, channels]``, checked to be finite, to ``[n]``: the mean of the channels."""
    _check_finite(block, name)
    return block.mean(axis=1, dtype=np.float64).astype(np.float32)


def _as_float32(samples: Any) -> np.ndarray:
    """A new float32 array of what numpy can convert, checked but for its shape."""
    if hasattr(samples, "detach"):  # a torch tensor, on any device
        samples = samples.detach().cpu()
    try:
        x = np.asarray(samples)
        if x.dtype in (np.int16, np.int32):
            x = x / -float(np.iinfo(x.dtype).min)
        elif x.dtype.kind != "f":
            raise TypeError(f"{x.dtype} values")
        with np.errstate(over="ignore"):  # too large becomes infinite, which is refused below
            x = x.astype(np.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"samples: got {type(samples).__name__} ({error}), expected floats (or int16, int32); "
            "convert them, full scale being -1..1"
        ) from None
    if not x.size:
        raise ValueError(f"samples: got none (shape {list(x.shape)}), expected at least one")
    _check_finite(x, "samples")
    return x


def _check_finite(x: np.ndarray, name: str) -> None:
    if not np.isfinite(x).all():
        raise ValueError(
            f"{name}: got NaN or infinite values, expected finite ones; "
            "clean them first, for example with numpy.nan_to_num"
        )


def _check_rate(rate: int, name: str) -> int:
    if rate not in RATES:
        raise ValueError(
            f"{name}: got a sample rate of {rate!r}, expected a whole number of Hz from "
            f"{RATES[0]} to {RATES[-1]}; resample it first"
        )
    return int(rate)


def _stem(path: str | os.PathLike[str]) -> str:
    """The file's name without its suffix, as text that can be written and shown."""
    return os.fsencode(Path(path).stem).decode("utf-8", errors="replace")


def _check_file(path: str | os.PathLike[str]) -> str:
    """Raise the ``OSError`` that fits if ``path`` is no readable file; its name for messages."""
    name = repr(os.fspath(path))
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(f"got the folder {name}, expected a sound file; name one in it")
        if not stat.S_ISREG(status.st_mode):
            raise OSError(f"got {name}, expected a sound file; it is a pipe or a device")
        with open(path, "rb"):
            pass
    except FileNotFoundError:
        raise FileNotFoundError(
            f"got {name}, expected a sound file; there is none: check the name and the folder"
        ) from None
    except PermissionError:
        raise PermissionError(
            f"got {name}, expected a file that may be read; change its permissions"
        ) from None
    if not status.st_size:
        raise ValueError(f"got {name}, expected a sound file; it is empty (0 bytes)")
    return name
