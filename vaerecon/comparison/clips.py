"""The sound files to measure, and their division into batches."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from vaerecon.audio.decoding import MOST
from vaerecon.audio.paths import check_path, left_out, plain_text, sounds_below
from vaerecon.utils.files import text_to_name

if TYPE_CHECKING:
    import pandas as pd

BATCH = 10.0  # s of sound in a batch: a kill loses no more, and each batch has a cost of its own
OVERHEAD = 0.5  # s of sound; what a clip costs however short it is
SHARES = 4  # batches for each worker at least, so that all end at about the same time

Source = str | os.PathLike[str]


@dataclass(frozen=True)
class SoundFile:
    """A clip to measure."""

    key: str  # its path below the folder that holds all clips: what it is called in the table
    path: str  # absolute, since a worker may run elsewhere
    size: int  # bytes; with mtime_ns it tells whether the file has changed since
    mtime_ns: int
    seconds: float  # as the header says, else a guess
    domain: str = ""  # the kind of sound that it belongs to
    place: str = ""  # of its sounds: the key without suffix, if no other clip has the same
    estimate: SoundFile | None = None  # the finished sound to compare with it, of `evaluate`


def find_clips(
    clips: Source | Iterable[Source], max_length: float | None = None
) -> list[SoundFile]:
    """The files in ``clips``, folders searched, each once, with their lengths.

    A warning counts and names the files that were left out of the folders. A FileNotFoundError if
    one does not exist, a ValueError if there are none or one is a network address.
    """
    given = [clips] if isinstance(clips, str | os.PathLike) else list(clips)
    paths: dict[Path, None] = {}  # a set that keeps the order
    bases, others = [], []
    for item in given:
        check_path(item)
        one = Path(os.path.abspath(text_to_name(item)))
        if not one.exists():
            raise FileNotFoundError(f"clips: got {one.name!r}, expected a sound file or a folder; "
                                    "there is none: check the name and the folder")  # fmt: skip
        bases.append(one if one.is_dir() else one.parent)
        sounds, rest = sounds_below(one) if one.is_dir() else ([one], [])
        paths |= dict.fromkeys(sounds)
        others += rest
    if not paths:
        names = ", ".join(repr(Path(item).name) for item in given) or "none"
        raise ValueError(f"clips: got {names} without any sound, expected files or folders with "
                         f".wav, .flac, .mp3, .m4a, ...{left_out(others)}")  # fmt: skip
    if others := [path for path in others if path not in paths]:
        warnings.warn(f"clips{left_out(others)}", stacklevel=3)
    base = os.path.commonpath(bases)
    return [
        sound_file(plain_text(path.relative_to(base).as_posix()), path,
                   plain_text(path.parent.name), max_length)
        for path in paths
    ]  # fmt: skip


def sound_file(key: str, path: Path, domain: str, max_length: float | None) -> SoundFile:
    """The facts about a clip that are known before it is read."""
    status = path.stat()
    seconds = min(_seconds(path, status.st_size), max_length or float("inf"))
    return SoundFile(key, str(path), status.st_size, status.st_mtime_ns, seconds, domain)


def with_places(files: list[SoundFile]) -> list[SoundFile]:
    """Each clip with its own place for its sounds, also where upper and lower case are the same."""
    stems = [PurePosixPath(file.key).with_suffix("").as_posix() for file in files]
    times = Counter(stem.casefold() for stem in stems)
    return [
        replace(file, place=stem if times[stem.casefold()] == 1 else file.key)
        for file, stem in zip(files, stems, strict=True)
    ]


def with_domains(files: list[SoundFile], table: Source) -> list[SoundFile]:
    """The clips with the domains of a CSV file with the columns ``file`` and ``domain``.

    A ValueError or OSError if it cannot be read, or does not name each clip once and nothing else.
    """
    rows, name = read_columns("domains", table, ["file", "domain"]), Path(table).name
    known = {file.key for file in files}
    for what, wrong in (
        ("which is not among the clips", rows["file"][~rows["file"].isin(known)]),
        ("more than once", rows["file"][rows["file"].duplicated()]),
        ("without a domain", rows["file"][rows["domain"].str.strip() == ""]),
        ("not, which is among the clips", sorted(known.difference(rows["file"]))),
    ):
        if len(wrong):
            more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            raise ValueError(
                f"domains: {name!r} has {next(iter(wrong))!r}{more} {what}; expected each clip "
                "once, named as in the table's column file: its path below the common folder"
            )
    domains = dict(zip(rows["file"], rows["domain"].str.strip(), strict=True))
    return [replace(file, domain=domains[file.key]) for file in files]


def read_columns(option: str, path: Source, columns: list[str]) -> pd.DataFrame:
    """Columns of a CSV file, as text; a ValueError or OSError names the option that it is for."""
    import pandas as pd

    name, wanted = Path(path).name, " and ".join(columns)
    fix = f"name a CSV file with columns {wanted}"
    try:
        rows = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # those of pandas are ValueErrors
        raise type(error)(f"{option}: cannot read {name!r} ({error}); {fix}") from None
    if missing := [column for column in columns if column not in rows]:
        raise ValueError(f"{option}: got the columns {list(rows)} in {name!r}, expected {wanted}; "
                         f"{' and '.join(missing)} is missing: {fix}")  # fmt: skip
    return rows[columns]


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
    """Batches of clips, the longest clips first: none of them is left for the end.

    ``width`` is the number of workers; for one alone every clip is a batch.
    """
    total = sum(file.seconds + OVERHEAD for file in files)
    most = min(BATCH, total / (SHARES * width)) if width > 1 else 0.0
    batches: list[list[SoundFile]] = []
    room = 0.0
    for file in sorted(files, key=lambda file: -file.seconds):
        cost = file.seconds + OVERHEAD
        if not batches or cost > room:
            batches.append([])
            room = most
        batches[-1].append(file)
        room -= cost
    return batches
