"""The command line in this process: for many cases, where starting a process each would take long.

The same function runs as for ``vaerecon`` in a shell, with its exit status and both streams.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from vaerecon.cli.main import cli
from vaerecon.utils.console import run_command


@dataclass(frozen=True)
class Done:
    """What a shell would see."""

    status: int
    stdout: str
    stderr: str


def run(*args: object, cwd: Path, command: click.Command = cli, encoding: str = "utf-8") -> Done:
    """Run ``vaerecon *args`` in ``cwd``, its output to pipes of this encoding.

    Any other exception than an exit is the caller's.
    """
    before, argv, handler = Path.cwd(), sys.argv, signal.getsignal(signal.SIGTERM)
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding, newline="\n") for _ in range(2))
    os.chdir(cwd)
    sys.argv = ["vaerecon", *map(str, args)]
    status: object = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            run_command(command)
    except SystemExit as stop:
        status = stop.code or 0
    finally:
        os.chdir(before)
        sys.argv = argv
        signal.signal(signal.SIGTERM, handler)
    for stream in (out, err):
        stream.flush()
    texts = (stream.buffer.getvalue().decode(encoding) for stream in (out, err))
    return Done(int(status), *texts)
