"""Which programs and packages are installed, and the rule for tests that need one that is not."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

REQUIRE_ALL = "VAERECON_REQUIRE_ALL"  # set in the environment: nothing may be missing


def is_installed(name: str) -> bool:
    """Whether a program is on the PATH, a package can be imported, or the soundfont is there."""
    if name == "fluid-soundfont-gm":
        from tools.synthetic_corpus.synthesis import SOUNDFONT

        return Path(SOUNDFONT).is_file()
    return shutil.which(name) is not None or find_spec(name) is not None


def need(*names: str) -> None:
    """Skip the test that calls it where one of ``names`` is not installed."""
    missing = [name for name in dict.fromkeys(names) if not is_installed(name)]
    if missing:
        stop = pytest.fail if os.environ.get(REQUIRE_ALL) else pytest.skip
        stop(f"needs {', '.join(missing)}")
