"""Sound files, opened at any second and decoded block by block at their own rate and channels.

By libsndfile (through ``soundfile``); by ffmpeg what libsndfile cannot open, cannot read to the
end, or does not know the length of: the program on the PATH, or else imageio-ffmpeg's. Streams that
stand one behind the other are read as one sound.
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

BLOCK = 2**18  # values (all channels) read at once: 1 MiB
MOST = 8192  # samples per byte: FLAC has 65535 in a frame of 12 bytes; more is no known length
# Containers that ffmpeg may open. Playlists are not among them: they name other files and hosts.
FFMPEG_FORMATS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,dts,eac3,flac,flv,matroska,mov,mp3,mpc,mpc8,mpeg,"
    "mpegts,ogg,tak,tta,w64,wav,wv"
)
# Where ffmpeg may jump to a second: MP4 and QuickTime (exact), webm, mkv and wma (by coarse time
# stamps). In others it errs by milliseconds or is slow anyway: they are decoded from their start.
SEEKABLE = re.compile(rb"....ftyp|\x1a\x45\xdf\xa3|\x30\x26\xb2\x75", re.DOTALL)

Path = str | os.PathLike[str]
Bytes = tuple[int, int] | None  # of a file that are one stream; None for all


class OpenSoundFile(NamedTuple):
    """An open sound file, placed at the first second that is wanted."""

    rate: int  # Hz
    seconds: float | None  # length of the whole file, where it is known
    blocks: Iterator[np.ndarray]  # [n, channels] float32
    notes: list[str]  # what went wrong without being fatal; complete after the last block


@contextmanager
def open_sound_file(path: Path, first: int, last: int | None) -> Iterator[OpenSoundFile]:
    """Open ``path`` to read from second ``first`` up to ``last``: libsndfile, else ffmpeg."""
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
    yield OpenSoundFile(rate, None, _cut(blocks(), first * rate, stop), notes)


@contextmanager
def _open_stream(
    path: Path, part: Bytes, first: int = 0, last: int | None = None, guessed: bool = False
) -> Iterator[OpenSoundFile]:
    """One stream by what can read it; ``guessed``: libsndfile only guesses how long it is."""
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
            told = sound.frames <= MOST * size
            source = _from_libsndfile(sound, path, part, first, last, told)
            if guessed:
                source.notes.append(
                    "no length in its header: guessed from the first bit rate, and a file of "
                    "variable bit rate is cut short; install ffmpeg or convert to wav/flac"
                )
        yield source


def find_ffmpeg() -> str | None:
    """The ffmpeg on the PATH, else that of imageio-ffmpeg; ``None`` where neither is there."""
    if program := shutil.which("ffmpeg"):
        return program
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        return str(get_ffmpeg_exe())
    except (ImportError, RuntimeError):  # RuntimeError: the package without a program
        return None


def _libsndfile(path: Path, part: Bytes = None) -> soundfile.SoundFile | None:
    """What libsndfile opens, or None."""
    # an absolute path, because libsndfile takes "-" for the standard input; as bytes where
    # names are bytes, which need not be UTF-8
    place = os.path.abspath(path)
    try:
        if part is not None:
            return soundfile.SoundFile(Span(place, *part))
        return soundfile.SoundFile(place if os.name == "nt" else os.fsencode(place))
    except (soundfile.LibsndfileError, TypeError):  # TypeError: headerless .raw
        return None


def _from_libsndfile(
    sound: soundfile.SoundFile, path: Path, part: Bytes, first: int, last: int | None, told: bool
) -> OpenSoundFile:
    """Blocks of an open libsndfile handle; where it fails, ffmpeg goes on.

    ``told``: its number of frames can be true.
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
            for block in _rest(path, part, rate, reached, error.error_string):
                here += len(block)
                yield block
        if here < stop and told:
            notes.append(f"incomplete: ends at {here / rate:g} s of {frames / rate:g} s")

    return OpenSoundFile(rate, frames / rate if told else None, blocks(), notes)


def _rest(
    path: Path, part: Bytes, rate: int, frames: tuple[int, int, int], reason: str
) -> Iterator[np.ndarray]:
    """By ffmpeg, what libsndfile could not read: ``frames`` are (asked for, reached, wanted).

    ValueError if ffmpeg meets errors there too, or is not installed.
    """
    name, ffmpeg = repr(os.fspath(path)), find_ffmpeg()
    first, here, stop = frames
    if ffmpeg:
        with _from_ffmpeg(ffmpeg, path, part, first // rate, None) as source:
            yield from _cut(_at_rate(source, rate, name), here - first, stop - first)
            if not source.notes:
                return
    raise ValueError(
        f"{name}: got damaged data after {here / rate:g} s ({reason}), expected a whole file; "
        f"get it again, or read less with max_length{'' if ffmpeg else ', or install ffmpeg'}"
    ) from None


def _at_rate(source: OpenSoundFile, rate: int, name: str) -> Iterator[np.ndarray]:
    """Its blocks, at another rate mixed down to one channel."""
    if source.rate == rate:
        return source.blocks
    mono = (mix_down(block, name) for block in source.blocks)
    return (block[:, None] for block in resample_blocks(mono, source.rate, rate))


def _cut(blocks: Iterator[np.ndarray], start: int, stop: int | None) -> Iterator[np.ndarray]:
    """Frames ``start`` to ``stop`` of blocks; what lies behind is not read."""
    here = 0
    for block in blocks:
        piece = block[max(0, start - here) : None if stop is None else max(0, stop - here)]
        here += len(block)
        if len(piece):
            yield piece
        if stop is not None and here >= stop:
            return


def _ffmpeg_command(ffmpeg: str, path: Path, part: Bytes, skipped: int) -> list[str]:
    """Decode a file, or a part of it, from second ``skipped`` on, as Sun AU to the output."""
    # "file:" keeps names with a leading dash or a colon from being read as something else
    place, protocols = f"file:{os.fspath(path)}", "file"
    if part is not None:
        place, protocols = f"subfile,,start,{part[0]},end,{part[1]},,:{place}", "file,subfile"
    command = [ffmpeg, "-nostdin", "-v", "error"]
    command += ["-protocol_whitelist", protocols, "-format_whitelist", FFMPEG_FORMATS]
    command += ["-ss", str(skipped), "-i", place, "-vn"]
    # time stamps by the number of samples: what is joined has others, of which ffmpeg complains
    command += ["-af", "asetpts=N/SR/TB", "-f", "au", "-c:a", "pcm_f32be", "pipe:1"]
    return command


@contextmanager
def _from_ffmpeg(
    ffmpeg: str, path: Path, part: Bytes, first: int, last: int | None
) -> Iterator[OpenSoundFile]:
    """Blocks that ffmpeg decodes, at the file's own rate and channels, through a pipe."""
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
        output = cast("IO[bytes]", process.stdout)  # a pipe, as asked for

        def complaint() -> str:
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
            if text := complaint():
                notes.append(f"ffmpeg met errors, the sound may be damaged: {text}")

        try:
            # Sun AU: magic, size of the header, size of the data, encoding, rate, channels
            header = output.read(24)
            if len(header) < 24:
                raise ValueError(
                    f"got {os.fspath(path)!r}, neither libsndfile nor ffmpeg can read it "
                    f"({complaint()}); expected a sound file: is it complete, is it sound at all?"
                )
            _, size, _, _, rate, channels = struct.unpack(">4s5I", header)
            output.read(size - len(header))
            stop = None if last is None else (last - skipped) * rate
            sound = _cut(blocks(), (first - skipped) * rate, stop)
            yield OpenSoundFile(rate, None, sound, notes)
        finally:
            process.kill()
