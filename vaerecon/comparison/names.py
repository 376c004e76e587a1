"""What models are called in the table, and where the sounds of each go."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vaerecon.comparison.clips import Source
from vaerecon.comparison.sources import is_dataset
from vaerecon.models.sources import VARIANTS, check_source
from vaerecon.utils.files import text_to_name


def name_models(models: Iterable[Source]) -> dict[str, str]:
    """What each model is called in the table: a folder by as much of its path as is needed."""
    paths = list(dict.fromkeys(map(_absolute, models)))
    for length in range(1, 9):
        parts = [Path(path).parts[1:] if os.path.isabs(path) else (path,) for path in paths]
        names = ["/".join(part[-length:]) for part in parts]
        if names and len(set(names)) == len(names):
            return dict(zip(paths, names, strict=True))
    raise ValueError(f"model: got {', '.join(paths) or 'none'}, expected at least one, each with "
                     "another name; rename a folder")  # fmt: skip


def _absolute(model: Source) -> str:
    """A folder by a path that holds for workers in another one."""
    model = os.fspath(model)
    check_source(model)
    folder = Path(model).expanduser()
    return str(folder.resolve()) if model not in VARIANTS and folder.is_dir() else model


def check_sounds(folder: Source, clips: Any, output: Source | None, below: str) -> tuple[str, str]:
    """The folder ``below`` the one for sounds: absolute, and as seen from the table's folder."""
    path = Path(os.path.abspath(text_to_name(folder)))
    if path.exists() and not path.is_dir():
        raise ValueError(f"keep_sounds: got {path.name!r}, which is a file; name a folder")
    for clip in () if is_dataset(clips) else clips:
        if path.is_relative_to(os.path.abspath(text_to_name(clip))):
            raise ValueError(
                f"keep_sounds: got {path.name!r}, which is in a folder of clips, so that the next "
                "run would measure the sounds too; name another folder"
            )
    path /= below
    start = "." if output is None else Path(text_to_name(output)).parent
    return str(path), Path(os.path.relpath(path, start)).as_posix()
