"""Results on disk, whole or not at all.

Everything is written into a hidden folder beside the target and moved into place at the end, by
renames. Files that a new result replaces are kept aside until the last rename and put back if one
fails.
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

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no room: the disk, a quota, a limit on files
LONGEST_STEM = 200  # bytes; file systems allow 255 for a name, and the longest ending has 36


def name_to_text(name: str, errors: str = "replace") -> str:
    """The name of a file as text that can be shown and written.

    Python has lone surrogates for bytes that are not in the file system's encoding. They are read
    as UTF-8 here, with ``errors`` as in ``bytes.decode``.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name).decode(errors=errors)
    return name


def text_to_name(text: str | os.PathLike[str]) -> str:
    """A path that the file system can hold: as UTF-8 where its encoding lacks a character."""
    text = os.fspath(text)
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return os.fsdecode(text.encode(errors="surrogateescape"))
    return text


def check_stem(stem: str) -> str:
    """Return ``stem`` if files in one folder can be named after it, or raise ``ValueError``."""
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
    """Give a scratch folder whose files appear in ``target`` together, or not at all.

    ``target`` is created if need be. Its other files stay; replaced are those of the same name and
    those that ``earlier`` names. An OSError if it is a file or cannot be written.
    """
    target = Path(text_to_name(target))
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
        if not _became(new, target):
            with _one_at_a_time(target), _signals_held():
                _move_in(new, target, scratch / "old", earlier(target))
        made = []
    finally:
        with _signals_held():  # a second Ctrl-C must not stop the cleaning up after the first
            if scratch is not None:
                shutil.rmtree(scratch, ignore_errors=True)
            for folder in made:  # only after a failure; leaves what somebody else has filled
                with contextlib.suppress(OSError):
                    folder.rmdir()


@contextlib.contextmanager
def whole_file(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a scratch path that becomes ``target`` when the block ends without an error."""
    target = Path(text_to_name(target))
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


def _became(new: Path, target: Path) -> bool:
    """Rename ``new`` to ``target`` if there is none yet, nor has another program just made it."""
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
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Wait while another program moves its files into ``folder``: never files of both mixed."""
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
        os.close(handle)  # and the lock goes with it


def _move_in(new: Path, target: Path, old: Path, earlier: Iterable[str]) -> None:
    """Move all files of ``new`` into ``target``; on failure put back what was there."""
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
def _signals_held() -> Iterator[None]:
    """Put off Ctrl-C and SIGTERM for the moment of the renames (only the main thread can)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[int] = []
    names = ("SIGINT", "SIGTERM", "SIGALRM")  # the last: see console.unwind_on_signals
    held = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {s: signal.signal(s, lambda number, _: caught.append(number)) for s in held}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for first in caught[:1]:
            signal.raise_signal(first)
