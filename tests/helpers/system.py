"""Processes, time, rights and disks as the tests need them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

_began = time.perf_counter()
import torch  # noqa: E402, F401 (timed)

# How long this machine takes, as busy as it is, for what every process of these tests does.
# On two quiet cores 2 s; a file system that is read for the first time counts too.
UNIT = max(2.0, time.perf_counter() - _began)
LIMIT = round(150 * UNIT)  # s, for what takes a few units: reached only by what hangs

T = TypeVar("T")


def wait_for(condition: Callable[[], T], limit: float = LIMIT) -> T:
    """Ask again and again until the answer is true; that answer."""
    until = time.monotonic() + limit
    while not (found := condition()):
        assert time.monotonic() < until, f"waited {limit:.0f} s in vain"
        time.sleep(0.01)
    return found


def run_as_user(command: list, variable: str | None = None, **options):
    """Run a program with at most one of the variables of threads, set to 1."""
    from vaerecon.comparison.workers import THREAD_VARIABLES

    env = {name: value for name, value in os.environ.items() if name not in THREAD_VARIABLES}
    env |= {variable: "1"} if variable else {}
    return subprocess.run([*map(str, command)], env=env, capture_output=True, text=True,
                          timeout=LIMIT, **options)  # fmt: skip


@contextmanager
def unprivileged() -> Iterator[None]:
    """File permissions bind root to nothing, so step down to another user."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[None]:
    """A tmpfs, where mounting is permitted: root in a container often may, others may not."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if sys.platform != "linux" or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the right to mount (root), as .ci/run has")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)
