"""Atomic writing: the files of a result appear all together, or not at all.

All files are written to a hidden temporary folder on the target's disk and renamed into place at
the end. Files that the result replaces are kept until the last rename, and put back if one fails.
"""

import contextlib
import errno
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # full disk, full quota, limit on file size
LONGEST_STEM = 200  # bytes; file systems allow 255 for a name, and the longest suffix has 36


def name_to_text(name: str, errors: str = "replace") -> str:
    """Return a file name as text that can be printed and encoded.

    Python represents bytes that are invalid in the file system's encoding by lone surrogates. They
    are decoded as UTF-8 here, with ``errors`` as in ``bytes.decode``.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name).decode(errors=errors)
    return name


def text_to_name(text: str | os.PathLike[str]) -> str:
    """Return a valid path: encoded as UTF-8 if the file system's encoding lacks a character."""
    text = os.fspath(text)
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return os.fsdecode(text.encode(errors="surrogateescape"))
    return text


def check_stem(stem: str) -> str:
    """Return ``stem`` if it is valid as the start of file names, else raise ``ValueError``."""
    if not stem or any(character in stem for character in "/\\\0"):
        raise ValueError(
            f"stem: got {stem!r}, expected a name without slashes; rename the clip, or pass stem"
        )
    size = len(stem.encode("utf-8", errors="replace"))
    if size > LONGEST_STEM:
        raise ValueError(
            f"stem: got a name of {size} bytes ({stem[:30]!r}...), expected at most "
            f"{LONGEST_STEM}; rename the clip, or pass a shorter stem"
        )
    return stem


@contextlib.contextmanager
def whole_folder(
    target: str | os.PathLike[str], earlier: Callable[[Path], Iterable[str]] = lambda folder: ()
) -> Iterator[Path]:
    """Yield a temporary folder; its files are moved to ``target`` together, or not at all.

    ``target`` is created if needed. Files of the same names are replaced, files that ``earlier``
    names are removed, all others stay. Raises OSError if it is a file or cannot be written.
    """
    target = Path(text_to_name(target))
    if target.exists() and not target.is_dir():
        raise NotADirectoryError(
            f"output folder: got {target.name!r}, which is a file; name a folder"
        )
    created: list[Path] = []
    scratch = None
    try:
        try:
            # in the target or its parent: on the same disk, so that files can be renamed
            parent = target if target.exists() else target.parent
            created = _make_folders(parent)
            scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=parent))
        except OSError as error:
            raise OSError(
                f"output folder: cannot write to {target.name!r} ({error.strerror}); "
                "choose another folder"
            ) from None
        new = scratch / "new"
        try:
            new.mkdir()
            yield new
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise OSError(
                f"output folder: no room to write to {target.name!r} ({os.strerror(error.errno)}); "
                "free some or choose another disk"
            ) from error
        if not _rename_folder(new, target):
            with _folder_lock(target), _signals_deferred():
                _move_files(new, target, scratch / "old", earlier(target))
        created = []
    finally:
        with _signals_deferred():  # a second Ctrl-C must not stop the cleanup after the first
            if scratch is not None:
                shutil.rmtree(scratch, ignore_errors=True)
            for folder in created:  # after a failure only; folders that others have filled stay
                with contextlib.suppress(OSError):
                    folder.rmdir()


@contextlib.contextmanager
def whole_file(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path that is renamed to ``target`` if the block ends without an error."""
    target = Path(text_to_name(target))
    with whole_folder(target.parent) as folder:
        yield folder / target.name


def _make_folders(folder: Path) -> list[Path]:
    """Create ``folder`` with its parents; return the created folders, deepest first."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
    return missing


def _rename_folder(new: Path, target: Path) -> bool:
    """Rename ``new`` to ``target``; False if that exists, also if a program just created it."""
    if target.exists():
        return False
    try:
        os.rename(new, target)
    except OSError:
        if not target.is_dir():
            raise
        return False
    return True


@contextlib.contextmanager
def _folder_lock(folder: Path) -> Iterator[None]:
    """Wait while another program moves its files into ``folder``, so that files do not mix."""
    try:
        import fcntl
    except ImportError:  # Windows, which cannot lock a folder
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)  # which also releases the lock


def _move_files(new: Path, target: Path, old: Path, earlier: Iterable[str]) -> None:
    """Move all files of ``new`` into ``target``; on failure restore the previous files."""
    old.mkdir()
    moved: list[str] = []
    try:
        for path in sorted(new.iterdir()):
            if (target / path.name).exists():
                os.replace(target / path.name, old / path.name)
            os.replace(path, target / path.name)
            moved.append(path.name)
        for name in set(earlier).difference(moved):
            if (target / name).is_file():
                os.replace(target / name, old / name)
    except BaseException:
        for name in moved:
            os.replace(target / name, new / name)
        for path in old.iterdir():
            os.replace(path, target / path.name)
        raise


@contextlib.contextmanager
def _signals_deferred() -> Iterator[None]:
    """Defer Ctrl-C and SIGTERM until the block ends (possible in the main thread only)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[int] = []
    names = ("SIGINT", "SIGTERM", "SIGALRM")  # the last: see console.unwind_on_signals
    deferred = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {s: signal.signal(s, lambda number, _: caught.append(number)) for s in deferred}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for first in caught[:1]:
            signal.raise_signal(first)
