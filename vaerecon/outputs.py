"""Results on disk, whole or not at all.

Everything is written into a hidden folder beside the target and moved into place at the end, by
renames, which neither a full disk nor a slow one can leave half done. Files that a new result
replaces are kept aside until the last rename and put back if one fails.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def whole_folder(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a scratch folder whose files appear in ``target`` together, or not at all.

    Parameters
    ----------
    target
        Folder, created if need be. Its other files stay; those of the same name are replaced.

    Raises
    ------
    OSError
        If ``target`` is a file or cannot be written.
    """
    target = Path(target)
    if target.exists() and not target.is_dir():
        raise NotADirectoryError(
            f"output folder: got {target.name!r}, which is a file; name a folder"
        )
    made: list[Path] = []
    scratch = None
    try:
        try:
            # in the target, or beside it: on the same disk, so that a rename suffices
            parent = target if target.exists() else target.parent
            made = _make_folders(parent)
            scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=parent))
        except OSError as error:
            raise OSError(
                f"output folder: cannot write to {target.name!r} ({error.strerror}); "
                "choose another folder"
            ) from None
        new = scratch / "new"
        new.mkdir()
        yield new
        with _signals_held():
            _move_in(new, target, scratch / "old")
        made = []
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
        for folder in made:  # only after a failure; leaves what somebody else has filled
            with contextlib.suppress(OSError):
                folder.rmdir()


@contextlib.contextmanager
def whole_file(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a scratch path that becomes ``target`` when the block ends without an error."""
    target = Path(target)
    with whole_folder(target.parent) as folder:
        yield folder / target.name


def _make_folders(folder: Path) -> list[Path]:
    """Create ``folder`` with its parents; returns what was created, deepest first."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
    return missing


def _move_in(new: Path, target: Path, old: Path) -> None:
    """Move all files of ``new`` into ``target``; on failure put back what was there."""
    if not target.exists():
        os.rename(new, target)
        return
    old.mkdir()
    moved: list[str] = []
    try:
        for path in sorted(new.iterdir()):
            if (target / path.name).exists():
                os.replace(target / path.name, old / path.name)
            os.replace(path, target / path.name)
            moved.append(path.name)
    except BaseException:
        for name in moved:
            (target / name).unlink(missing_ok=True)
        for path in old.iterdir():
            os.replace(path, target / path.name)
        raise


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Put off Ctrl-C and SIGTERM for the moment of the renames (only the main thread can)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[tuple] = []
    held = (signal.SIGINT, signal.SIGTERM)
    before = {s: signal.signal(s, lambda *args: caught.append(args)) for s in held}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number, _ in caught[:1]:
            signal.raise_signal(number)
