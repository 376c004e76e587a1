"""Notes every start of a process, so that a test that starts one must be marked ``process``."""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Callable
from multiprocessing.process import BaseProcess

started: list[str] = []  # by this test so far
_by_fixtures: dict[tuple[str, str], list[str]] = {}  # (where it is, its name) -> what it started


def watch() -> None:
    """From now on note in ``started`` what this process starts."""
    for owner, name in ((subprocess.Popen, "__init__"), (os, "fork"), (BaseProcess, "start")):
        if hasattr(owner, name):  # Windows has no fork
            setattr(owner, name, _noted(getattr(owner, name), os.getpid()))


def _noted(function: Callable, pid: int) -> Callable:
    @functools.wraps(function)
    def start(*args, **options):
        if os.getpid() == pid:  # not what a forked child starts
            started.append(f"{function.__qualname__} {args[1:] or options}"[:200])
        return function(*args, **options)

    return start


def note_fixture(where: str, name: str, what: list[str]) -> None:
    """Remember what the set-up of a fixture started: later tests use the same fixture."""
    if what:
        _by_fixtures[where, name] = what


def starts_of(test: str, fixtures: list[str]) -> list[str]:
    """What a test started, and what earlier set-ups of its fixtures did."""
    earlier = [
        what
        for (where, name), found in _by_fixtures.items()
        if name in fixtures and test.startswith(where)
        for what in found
    ]
    return started + earlier
