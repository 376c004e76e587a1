"""Decode sound files block by block, from any second, at their own rate and channels.

By libsndfile (through ``soundfile``), or if it cannot open a file, read it to the end, or tell its
length, by the ffmpeg on the PATH or of imageio-ffmpeg. Concatenated streams are read as one sound.
"""

import os
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from itertools import pairwise
from typing import IO, Any, NamedTuple, cast

import numpy as np
import soundfile

from vaerecon.audio.conversion import mix_down, resample_blocks
from vaerecon.audio.joined_files import Span, find_mp3_streams, find_streams

BLOCK = 2**18  # values of all channels that are read at once: 1 MiB
MOST = 8192  # samples per byte; a larger stated length is ignored (FLAC: 65535 in 12 bytes)
# Containers that ffmpeg may open. Playlists are not among them: they name other files and hosts.
FFMPEG_FORMATS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,dts,eac3,flac,flv,matroska,mov,mp3,mpc,mpc8,mpeg,"
    "mpegts,ogg,tak,tta,w64,wav,wv"
)
# Formats in which ffmpeg may seek: MP4 and QuickTime (exact), webm, mkv and wma (by coarse time
# stamps). In others seeking errs by milliseconds or is slow: they are decoded from the start.
SEEKABLE = re.compile(rb"....ftyp|\x1a\x45\xdf\xa3|\x30\x26\xb2\x75", re.DOTALL)

Path = str | os.PathLike[str]
Bytes = tuple[int, int] | None  # byte range of one stream of a file; None for the whole file


class OpenSoundFile(NamedTuple):
    """An open sound file, positioned at the first requested second."""

    rate: int  # Hz
    seconds: float | None  # length of the whole file; None if it is not known
    blocks: Iterator[np.ndarray]  # [n, channels] float32
    notes: list[str]  # warnings about the data; complete after the last block


@contextmanager
def open_sound_file(path: Path, first: int, last: int | None) -> Iterator[OpenSoundFile]:
    """Open ``path``, by libsndfile or else ffmpeg, to read from second ``first`` to ``last``."""
    starts: list[int] | None = [0]
    with _libsndfile(path) or nullcontext() as sound:
        if sound is not None and sound.format == "MP3":
            starts = find_mp3_streams(path)
        elif sound is None or last is None or sound.frames < last * sound.samplerate:
            starts = find_streams(path)
    if starts is None or len(starts) == 1:
        with _open_stream(path, None, first, last, guessed=starts is None) as source:
            yield source
        return
    streams = list(pairwise([*starts, os.path.getsize(path)]))
    with _open_stream(path, streams[0]) as source:
        rate = source.rate
    notes: list[str] = []

    def blocks() -> Iterator[np.ndarray]:
        for stream in streams:
            with _open_stream(path, stream) as source:
                yield from _at_rate(source, rate, repr(os.fspath(path)))
                notes.extend(source.notes)

    stop = None if last is None else last * rate
    yield OpenSoundFile(rate, None, _trim(blocks(), first * rate, stop), notes)


@contextmanager
def _open_stream(
    path: Path, part: Bytes, first: int = 0, last: int | None = None, guessed: bool = False
) -> Iterator[OpenSoundFile]:
    """Open one stream; ``guessed``: libsndfile can only estimate the length of it."""
    name = repr(os.fspath(path))
    size = os.path.getsize(path) if part is None else part[1] - part[0]
    with ExitStack() as stack:
        sound: Any = stack.enter_context(_libsndfile(path, part) or nullcontext())
        known = sound is not None and not guessed and 0 < sound.frames <= MOST * size
        ffmpeg = None if known else find_ffmpeg()
        source = None
        if ffmpeg:
            try:
                source = stack.enter_context(_from_ffmpeg(ffmpeg, path, part, first, last))
            except ValueError:
                if sound is None:
                    raise
        elif sound is None or not (known or guessed):
            reason = "" if sound is None else " of unknown length"
            raise ValueError(
                f"got {name}{reason}, libsndfile cannot read it; "
                "install ffmpeg or convert to wav/flac"
            )
        if source is None:
            plausible = sound.frames <= MOST * size
            source = _from_libsndfile(sound, path, part, first, last, plausible)
            if guessed:
                source.notes.append(
                    "no length in its header: guessed from the first bit rate, and a file of "
                    "variable bit rate is cut short; install ffmpeg or convert to wav/flac"
                )
        yield source


def find_ffmpeg() -> str | None:
    """Return the ffmpeg on the PATH, else that of imageio-ffmpeg; ``None`` if there is neither."""
    if program := shutil.which("ffmpeg"):
        return program
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        return str(get_ffmpeg_exe())
    except (ImportError, RuntimeError):  # RuntimeError: the package without a program
        return None


def _libsndfile(path: Path, part: Bytes = None) -> soundfile.SoundFile | None:
    """Open a file, or a part of it, by libsndfile; None if that cannot read it."""
    # an absolute path, because libsndfile takes "-" for the standard input; as bytes on systems
    # where file names are bytes, which need not be valid UTF-8
    absolute = os.path.abspath(path)
    try:
        if part is not None:
            return soundfile.SoundFile(Span(absolute, *part))
        return soundfile.SoundFile(absolute if os.name == "nt" else os.fsencode(absolute))
    except (soundfile.LibsndfileError, TypeError):  # TypeError: headerless .raw
        return None


def _from_libsndfile(
    sound: soundfile.SoundFile, path: Path, part: Bytes, first: int, last: int | None, known: bool
) -> OpenSoundFile:
    """Read blocks of an open libsndfile handle; if it fails, continue with ffmpeg.

    ``known``: the number of frames that libsndfile reports is plausible.
    """
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
                    break
                here += len(block)
                yield block
        except soundfile.LibsndfileError as error:
            reached = (first * rate, here, stop)
            for block in _continue_with_ffmpeg(path, part, rate, reached, error.error_string):
                here += len(block)
                yield block
        if here < stop and known:
            notes.append(f"incomplete: ends at {here / rate:g} s of {frames / rate:g} s")

    return OpenSoundFile(rate, frames / rate if known else None, blocks(), notes)


def _continue_with_ffmpeg(
    path: Path, part: Bytes, rate: int, frames: tuple[int, int, int], reason: str
) -> Iterator[np.ndarray]:
    """Decode the rest by ffmpeg; ``frames``: first requested, first unread by libsndfile, end.

    Raises ValueError if ffmpeg meets errors there too, or is not installed.
    """
    name, ffmpeg = repr(os.fspath(path)), find_ffmpeg()
    first, here, stop = frames
    if ffmpeg:
        with _from_ffmpeg(ffmpeg, path, part, first // rate, None) as source:
            yield from _trim(_at_rate(source, rate, name), here - first, stop - first)
            if not source.notes:
                return
    raise ValueError(
        f"{name}: got damaged data after {here / rate:g} s ({reason}), expected a whole file; "
        f"get it again, or read less with max_length{'' if ffmpeg else ', or install ffmpeg'}"
    ) from None


def _at_rate(source: OpenSoundFile, rate: int, name: str) -> Iterator[np.ndarray]:
    """Return the blocks of ``source`` at ``rate`` Hz; if resampled, mixed down to one channel."""
    if source.rate == rate:
        return source.blocks
    mono = (mix_down(block, name) for block in source.blocks)
    return (block[:, None] for block in resample_blocks(mono, source.rate, rate))


def _trim(blocks: Iterator[np.ndarray], start: int, stop: int | None) -> Iterator[np.ndarray]:
    """Yield frames ``start`` to ``stop`` of consecutive blocks; later blocks are not read."""
    here = 0
    for block in blocks:
        piece = block[max(0, start - here) : None if stop is None else max(0, stop - here)]
        here += len(block)
        if len(piece):
            yield piece
        if stop is not None and here >= stop:
            return


def _ffmpeg_command(ffmpeg: str, path: Path, part: Bytes, skipped: int) -> list[str]:
    """Return the command that decodes (a part of) a file from second ``skipped`` on, as Sun AU."""
    # "file:" protects names with a leading dash or a colon from another interpretation
    url, protocols = f"file:{os.fspath(path)}", "file"
    if part is not None:
        url, protocols = f"subfile,,start,{part[0]},end,{part[1]},,:{url}", "file,subfile"
    command = [ffmpeg, "-nostdin", "-v", "error"]
    command += ["-protocol_whitelist", protocols, "-format_whitelist", FFMPEG_FORMATS]
    command += ["-ss", str(skipped), "-i", url, "-vn"]
    # time stamps by the number of samples: ffmpeg reports an error for those of joined files
    command += ["-af", "asetpts=N/SR/TB", "-f", "au", "-c:a", "pcm_f32be", "pipe:1"]
    return command


@contextmanager
def _from_ffmpeg(
    ffmpeg: str, path: Path, part: Bytes, first: int, last: int | None
) -> Iterator[OpenSoundFile]:
    """Decode by ffmpeg through a pipe, at the file's own rate and channels."""
    with open(path, "rb") as file:
        skipped = first if part is None and SEEKABLE.match(file.read(8)) else 0
    command = _ffmpeg_command(ffmpeg, path, part, skipped)
    notes: list[str] = []
    with (
        tempfile.TemporaryFile() as messages,
        subprocess.Popen(  # noqa: S603 (a list of arguments, no shell)
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=messages
        ) as process,
    ):
        output = cast("IO[bytes]", process.stdout)

        def error_text() -> str:
            status = process.wait()
            messages.seek(0)
            text = messages.read().decode(errors="replace")
            text = re.sub(r" @ 0x[0-9a-f]+|(?<=whitelist) '[^']*'", "", text)
            failure = f"it ended with status {status}" if status else ""
            return " ".join(text.split())[:150] or failure

        def blocks() -> Iterator[np.ndarray]:
            frame = 4 * channels  # bytes
            while data := output.read(max(1, BLOCK // channels) * frame):
                whole = data[: len(data) // frame * frame]
                yield np.frombuffer(whole, ">f4").astype(np.float32).reshape(-1, channels)
            if text := error_text():
                notes.append(f"ffmpeg met errors, the sound may be damaged: {text}")

        try:
            # Sun AU: magic, size of the header, size of the data, encoding, rate, channels
            header = output.read(24)
            if len(header) < 24:
                raise ValueError(
                    f"got {os.fspath(path)!r}, neither libsndfile nor ffmpeg can read it "
                    f"({error_text()}); expected a sound file: is it complete, is it sound at all?"
                )
            _, size, _, _, rate, channels = struct.unpack(">4s5I", header)
            output.read(size - len(header))
            stop = None if last is None else (last - skipped) * rate
            sound = _trim(blocks(), (first - skipped) * rate, stop)
            yield OpenSoundFile(rate, None, sound, notes)
        finally:
            process.kill()
