"""Processes, rights and disks as the tests need them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def run_as_user(command: list, variable: str | None = None, **options):
    """Run a program with at most one of the variables of threads, set to 1."""
    from vaerecon.comparison.workers import THREAD_VARIABLES

    env = {name: value for name, value in os.environ.items() if name not in THREAD_VARIABLES}
    env |= {variable: "1"} if variable else {}
    return subprocess.run([*map(str, command)], env=env, capture_output=True, text=True,
                          timeout=600, **options)  # fmt: skip


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
