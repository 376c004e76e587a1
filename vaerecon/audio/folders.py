"""The sound files in a folder, found by their suffix; what else is there is counted and named."""

from __future__ import annotations

import os
from pathlib import Path

from vaerecon.audio.decoding import SUFFIXES
from vaerecon.utils.files import name_to_text


def sounds_below(folder: Path) -> tuple[list[Path], list[Path]]:
    """Sounds in a folder and those in it, by their suffix, and what else there is.

    In the order of their names; nothing that is hidden.
    """
    sounds, others = [], []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(place, name) for name in sorted(names) if not name.startswith(".")):
            (sounds if path.suffix.lower() in SUFFIXES else others).append(path)
    return sounds, others


def left_out(files: list[Path], shown: int = 5) -> str:
    """What is said of files that were left out of a folder: how many, and which."""
    if not files:
        return ""
    names = ", ".join(plain_text(path.name) for path in files[:shown])
    more = f" and {len(files) - shown} more" if len(files) > shown else ""
    return f": {len(files)} without the suffix of a sound left out ({names}{more})"


def plain_text(text: str) -> str:
    """A file name, or a text with one in it, without bytes that no table could hold."""
    try:
        return name_to_text(text, errors="strict")
    except UnicodeError:
        return text.encode("utf-8", "backslashreplace").decode()
