"""Results that survive a kill: a file to which each finished clip is added, one JSON line a clip.

The first line says with what settings the run was begun. A line counts once it is on the disk
(``fsync``); one that was cut short by a kill or a full disk is dropped when the run is resumed. The
file is locked while a run writes it, so that two runs cannot mix their results.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

try:
    import fcntl
except ImportError:  # Windows: two runs with one output are then not told apart
    fcntl = None

FORMAT = 1  # of the lines; changes when one changes its meaning


def journal_path(output: Path) -> Path:
    """Where the unfinished results for ``output`` are."""
    return output.with_name(output.name + ".partial.jsonl")


def check_free(output: Path, resume: bool, overwrite: bool) -> None:
    """Refuse, before anything is computed, to replace results that nobody asked to replace.

    Raises
    ------
    ValueError
        If ``output`` or the journal of an unfinished run is there.
    """
    path = journal_path(output)
    if path.exists():
        if not (resume or overwrite):
            raise ValueError(
                f"output: a run for {output.name!r} was not finished, and its results are in "
                f"{path.name!r}; use --resume to go on with it or --overwrite to start again"
            )
    elif output.exists() and not overwrite:
        raise ValueError(
            f"output: got {output.name!r}, which exists and is complete; "
            "name another file, or use --overwrite to replace it"
        )


class Journal:
    """The results of a run so far. Made by :func:`open_journal`."""

    def __init__(self, file: BinaryIO, path: Path | None):
        self.path = path  # None: a temporary file, which goes when it is closed
        self._file = file

    def entries(self) -> Iterator[dict[str, Any]]:
        """What was added, in that order, read from the file one by one."""
        self._file.seek(0)
        next(self._file)  # the settings
        for line in self._file:
            yield json.loads(line)

    def add(self, entries: Iterable[dict[str, Any]]) -> None:
        """Add entries; they are on the disk when this returns."""
        lines = [json.dumps(entry, allow_nan=False).encode() + b"\n" for entry in entries]
        self._file.seek(0, os.SEEK_END)
        self._file.write(b"".join(lines))
        self._file.flush()
        os.fsync(self._file.fileno())

    def remove(self) -> None:
        """Delete the file: what it holds has been written elsewhere, or is not wanted."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


@contextmanager
def open_journal(
    output: Path | None, settings: dict[str, Any], resume: bool = False
) -> Iterator[Journal]:
    """Open the journal for ``output``; one that holds nothing is deleted at the end.

    Parameters
    ----------
    output
        The file for which results are collected; None keeps them in a temporary file.
    settings
        What the results depend on, as plain JSON values.
    resume
        Keep what is there, if it was computed with the same settings. Otherwise it is cleared.

    Raises
    ------
    ValueError
        If another run writes it, if it was begun with other settings, or if it is damaged.
    OSError
        If it cannot be written.
    """
    header = json.dumps({"format": FORMAT, **settings}, sort_keys=True).encode() + b"\n"
    if output is None:
        with tempfile.TemporaryFile() as file:
            file.write(header)
            yield Journal(file, None)
        return
    path = journal_path(output)
    with _locked(path) as file:
        good = _good_length(file, json.loads(header), path) if resume else 0
        file.truncate(good)
        if not good:
            file.seek(0)
            file.write(header)
            file.flush()
            os.fsync(file.fileno())
        try:
            yield Journal(file, path)
        finally:
            if path.exists() and path.stat().st_size <= len(header):
                path.unlink()


@contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """The file, opened to read and write, created if need be, for this run alone."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
    except OSError as error:
        raise OSError(
            f"output: cannot write to {path.parent.name!r} ({error.strerror}); choose another file"
        ) from None
    with file:
        if not _taken(file):
            raise ValueError(
                f"output: another run is writing {path.name!r}; wait for its end, or name "
                "another file"
            )
        yield file


def _taken(file: BinaryIO) -> bool:
    """Lock a file until it is closed, or its process ends; False if another has done so."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network file systems have no locks
        return True
    return True


def _good_length(file: BinaryIO, settings: dict[str, Any], path: Path) -> int:
    """Bytes of the file up to the last whole line; 0 if not even its first line is whole."""
    good = 0
    for number, line in enumerate(file, start=1):
        if not line.endswith(b"\n"):
            break  # the last one, cut short
        try:
            found = json.loads(line)
        except ValueError:
            raise ValueError(
                f"resume: line {number} of {path.name!r} is damaged; delete that line, or use "
                "--overwrite to start again"
            ) from None
        if number == 1 and found != settings:
            names = sorted(k for k in {*found, *settings} if found.get(k) != settings.get(k))
            changes = "; ".join(
                f"{name} was {found.get(name)!r}, now {settings.get(name)!r}" for name in names
            )
            raise ValueError(
                f"resume: {path.name!r} was begun with other settings ({changes}); use the same, "
                "or --overwrite to start again"
            )
        good += len(line)
    return good
