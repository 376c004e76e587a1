"""Clips of Hugging Face ``datasets``, names of models, the folder of kept sounds."""

import os
import zlib
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from pathlib import Path, PurePath
from typing import Any

from vaerecon.audio.paths import plain_text
from vaerecon.comparison.clips import SoundFile, Source, sound_file
from vaerecon.models.sources import VARIANTS, check_source
from vaerecon.utils.files import text_to_name


def is_dataset(clips: Any) -> bool:
    """Whether it is a ``datasets.Dataset`` or ``IterableDataset``."""
    return hasattr(clips, "cast_column")


def open_dataset(name: str, split: str) -> Any:
    """A split of a dataset: one saved on disk, a folder of sounds, or, streamed, one of the hub.

    A ValueError if the package is not installed, or there is no such dataset or split.
    """
    try:
        import datasets
    except ImportError:
        raise ValueError(
            "dataset: the package datasets is not installed: `pip install datasets`"
        ) from None
    try:
        if not any(Path(name, file).is_file() for file in ("state.json", "dataset_dict.json")):
            return datasets.load_dataset(name, split=split, streaming=True)
        found = datasets.load_from_disk(name)
    except Exception as error:  # the package has errors of many kinds
        raise ValueError(f"dataset: cannot open {name!r}, split {split!r}: {error}") from None
    splits = found if isinstance(found, dict) else {str(found.split or split): found}
    if split not in splits:
        raise ValueError(f"split: got {split!r}, expected one of {', '.join(splits)}")
    return splits[split]


def dataset_clips(
    dataset: Any, column: str, spool: Path, max_length: float | None, max_clips: int | None
) -> list[SoundFile]:
    """The clips of a split, in its order; a clip's key is its number and the name of its file.

    Sounds are read as they were stored, by our own loader; those that are not files are written to
    the folder ``spool``. A ValueError if there are none, or the column is missing or has no sounds.
    """
    from datasets import Audio, Dataset, Value

    if dataset.features is not None and column not in dataset.features:
        names = ", ".join(dataset.features)
        raise ValueError(f"column: got {column!r}, expected one of the dataset's: {names}")
    stored: Any = {"bytes": Value("binary"), "path": Value("string")}
    if isinstance(dataset, Dataset):  # streamed, Audio would need torchcodec even so
        stored = Audio(decode=False)
    try:
        items = dataset.select_columns(column).cast_column(column, stored)
        files = [
            _clip(index, item[column] or {}, spool, max_length, dataset.info.dataset_name)
            for index, item in enumerate(islice(items, max_clips))
        ]
    except Exception as error:  # see open_dataset
        raise ValueError(
            f"column: cannot take sounds from {column!r} ({error}); expected audio as stored in "
            "Parquet or Arrow files; give a folder of sound files as CLIPS"
        ) from None
    if not files:
        raise ValueError("dataset: got no items, expected at least one; choose another split")
    return files


def _clip(
    index: int, item: dict[str, Any], spool: Path, max_length: float | None, name: str | None
) -> SoundFile:
    stored, data = item.get("path") or "", item.get("bytes")
    path = PurePath(stored)
    key = "/".join([f"{index:06}", plain_text(path.name)][: 1 + bool(stored)])
    domain = plain_text(path.parent.name) or name or "dataset"
    if data is None and not os.path.isfile(stored):
        return SoundFile(key, stored, 0, 0, 0.0, domain)  # its row will say that there is none
    if data is None:
        return sound_file(key, Path(stored), domain, max_length)
    file = spool / f"{index:06}{path.suffix}"
    file.write_bytes(data)
    # the same bytes are the same clip, whenever they were written
    return replace(sound_file(key, file, domain, max_length), mtime_ns=zlib.crc32(data))


def name_models(models: Iterable[Source]) -> dict[str, str]:
    """Path or id of each model -> its name in the table: for folders the shortest distinct path."""
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
