"""Sound files, opened at any second and decoded block by block at their own rate and channels.

By libsndfile [1]_; what it cannot read, and MP3 of unknown length, by ffmpeg: the program on the
PATH, or else the one that imageio-ffmpeg brings.

References
----------
.. [1] http://libsndfile.github.io/libsndfile/, through ``soundfile``.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

import numpy as np
import soundfile

BLOCK = 2**18  # values (all channels) read at once: 1 MiB
# Containers that ffmpeg may open. Playlists are not among them: they name other files and hosts.
FFMPEG_FORMATS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,dts,eac3,flac,flv,matroska,mov,mp3,mpc,mpc8,mpeg,"
    "mpegts,ogg,tak,tta,w64,wav,wv"
)


class OpenSoundFile(NamedTuple):
    """An open sound file, placed at the first second that is wanted."""

    rate: int  # Hz
    seconds: float | None  # length of the whole file, where it is known
    blocks: Iterator[np.ndarray]  # [n, channels] float32
    notes: list[str]  # what went wrong without being fatal; complete after the last block


@contextmanager
def open_sound_file(
    path: str | os.PathLike[str], first: int, last: int | None
) -> Iterator[OpenSoundFile]:
    """Open ``path`` to read from second ``first`` up to ``last``: libsndfile, else ffmpeg."""
    try:
        # an absolute path, because libsndfile takes "-" for the standard input; as bytes where
        # names are bytes, which need not be UTF-8
        place = os.path.abspath(path)
        sound = soundfile.SoundFile(place if os.name == "nt" else os.fsencode(place))
        guessed = sound.format == "MP3" and not _mp3_has_length(path)
    except (soundfile.LibsndfileError, TypeError):  # TypeError: headerless .raw
        sound, guessed = None, False
    ffmpeg = find_ffmpeg() if sound is None or guessed else None
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


def find_ffmpeg() -> str | None:
    """The ffmpeg on the PATH, else that of imageio-ffmpeg; ``None`` where neither is there."""
    if program := shutil.which("ffmpeg"):
        return program
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        return get_ffmpeg_exe()
    except (ImportError, RuntimeError):  # RuntimeError: the package without a program
        return None


def check_sound_file(path: str | os.PathLike[str]) -> str:
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


def _from_libsndfile(
    sound: soundfile.SoundFile, name: str, first: int, last: int | None
) -> OpenSoundFile:
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

    return OpenSoundFile(rate, frames / rate, blocks(), notes)


@contextmanager
def _from_ffmpeg(
    ffmpeg: str, path: str | os.PathLike[str], first: int, last: int | None
) -> Iterator[OpenSoundFile]:
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
            return " ".join(text.split())[:150]

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
            yield OpenSoundFile(rate, None, blocks(), notes)
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
