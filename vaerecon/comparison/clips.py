"""The sound files to measure, and their division into batches."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vaerecon.audio.decoding import MOST
from vaerecon.audio.paths import check_path, left_out, plain_text, sounds_below
from vaerecon.utils.files import text_to_name

BATCH = 10.0  # s of sound that a worker gets at once: what a kill loses, and the cost of asking
OVERHEAD = 0.5  # s of sound; what a clip costs however short it is
SHARES = 4  # batches that a worker gets at least, so that all end at about the same time

Source = str | os.PathLike[str]


@dataclass(frozen=True)
class SoundFile:
    """A clip to measure."""

    key: str  # its path below the folder that holds all clips: what it is called in the table
    path: str  # absolute, since a worker may run elsewhere
    size: int  # bytes; with mtime_ns it tells whether the file has changed since
    mtime_ns: int
    seconds: float  # as the header says, else a guess


def find_clips(
    clips: Source | Iterable[Source], max_length: float | None = None
) -> list[SoundFile]:
    """The files in ``clips``, folders searched, each once, with their lengths.

    A warning counts and names what was left out of the folders.

    Raises
    ------
    FileNotFoundError
        If one is not there.
    ValueError
        If there are none, or one is an address on a network.
    """
    given = [clips] if isinstance(clips, str | os.PathLike) else list(clips)
    paths: dict[Path, None] = {}  # a set that keeps the order
    bases, others = [], []
    for item in given:
        check_path(item)
        one = Path(os.path.abspath(text_to_name(item)))
        if not one.exists():
            raise FileNotFoundError(
                f"clips: got {one.name!r}, expected a sound file or a folder; there is none: "
                "check the name and the folder"
            )
        bases.append(one if one.is_dir() else one.parent)
        sounds, rest = sounds_below(one) if one.is_dir() else ([one], [])
        paths |= dict.fromkeys(sounds)
        others += rest
    others = [path for path in others if path not in paths]
    if not paths:
        names = ", ".join(repr(Path(item).name) for item in given) or "none"
        raise ValueError(
            f"clips: got {names} without any sound, expected files or folders with .wav, .flac, "
            f".mp3, .m4a, ...{left_out(others)}"
        )
    if others:
        warnings.warn(f"clips{left_out(others)}", stacklevel=3)
    base = os.path.commonpath(bases)
    files = []
    for path in paths:
        status = path.stat()
        seconds = min(_seconds(path, status.st_size), max_length or float("inf"))
        key = plain_text(path.relative_to(base).as_posix())
        files.append(SoundFile(key, str(path), status.st_size, status.st_mtime_ns, seconds))
    return files


def _seconds(path: Path, size: int) -> float:
    """Length of a clip by its header; by its size where only ffmpeg, or nothing, can read it."""
    import soundfile

    try:
        # as bytes, because soundfile encodes a name strictly
        info = soundfile.info(path if os.name == "nt" else os.fsencode(path))
        return info.duration if 0 < info.frames <= MOST * size else size / 16000
    except (soundfile.LibsndfileError, TypeError, OSError):  # TypeError: headerless .raw
        return size / 16000  # 128 kbit/s


def make_batches(files: list[SoundFile], width: int) -> list[list[SoundFile]]:
    """Clips of about the same length together, the longest first: no long one is left at the end.

    ``width`` is the number of workers; one alone gets every clip by itself.
    """
    costs = {file.key: file.seconds + OVERHEAD for file in files}
    most = min(BATCH, sum(costs.values()) / (SHARES * width)) if width > 1 else 0.0
    batches: list[list[SoundFile]] = []
    room = 0.0
    for file in sorted(files, key=lambda file: -file.seconds):
        if not batches or costs[file.key] > room:
            batches.append([])
            room = most
        batches[-1].append(file)
        room -= costs[file.key]
    return batches
