"""Give numba a temporary cache folder on machines where its usual ones are not writable.

numba caches the compiled functions of librosa and ViSQOL beside their modules or in the user's
cache folder, and raises if it can write to neither, as in a container that runs as another user.
"""

import atexit
import os
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

COMPILED = ("librosa", "visqol")


def user_cache() -> Path:
    """Return the user's cache folder, by the convention of the operating system."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or os.path.expanduser("~/AppData/Local"))
    if sys.platform == "darwin":
        return Path(os.path.expanduser("~/Library/Caches"))
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))


def ensure_cache() -> None:
    """Set ``NUMBA_CACHE_DIR`` to a temporary folder if numba cannot write to its usual ones.

    The folder is deleted when this process ends; processes that it starts use it too.
    """
    if os.environ.get("NUMBA_CACHE_DIR") or _writable(user_cache() / "numba"):
        return
    origins = [spec.origin for name in COMPILED if (spec := find_spec(name)) and spec.origin]
    if all(_writable(Path(origin).parent / "__pycache__") for origin in origins):
        return
    import shutil
    import tempfile

    with suppress(OSError):  # without a temporary folder numba itself raises an error
        folder = tempfile.mkdtemp(prefix="vaerecon-numba-")
        os.environ["NUMBA_CACHE_DIR"] = folder
        owner = os.getpid()

        def remove() -> None:
            if os.getpid() == owner:  # a forked process leaves it to its parent
                shutil.rmtree(folder, ignore_errors=True)

        atexit.register(remove)


def _writable(folder: Path) -> bool:
    """Whether files can be created in ``folder``, which need not exist yet."""
    path = os.path.abspath(folder)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return os.path.isdir(path) and os.access(path, os.W_OK | os.X_OK)
