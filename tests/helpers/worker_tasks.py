"""What the tests let worker processes do; without imports, so that these start at once."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path


def work(batch: list[str]) -> list[str]:
    """Runs in a worker: an item says what is to happen."""
    for item in batch:
        if item == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if item.startswith("once "):  # a file that is there until the first try
            path = Path(item.removeprefix("once "))
            if path.exists():
                path.unlink()
                os.kill(os.getpid(), signal.SIGKILL)
        if item == "raise":
            raise RuntimeError("an error of the function")
        time.sleep(0.05)
    return [item.upper() for item in batch]


def ready() -> int:
    return os.getpid()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
