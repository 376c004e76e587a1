"""Runs commands of the project in forked processes, so that each starts warm and can be killed.

The libraries take seconds to import; a test that interrupts a command at twenty moments cannot wait
for that twenty times, nor learn anything from it. Here one process imports them and forks a child
for every command: real processes that get real signals.

Protocol, one JSON a line: in a list of ``{"args": [...], "cwd": "...", "largest": bytes or null}``,
all run at once; out first a list of their process ids, then one of ``{"status", "stderr"}`` with
the exit statuses, negative for a signal.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int  # exit status; negative: killed by that signal
    stderr: str
    seconds: float  # from the fork to the end


class Zygote:
    """The warm process."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

    def run(
        self,
        args: list[str],
        cwd: Path,
        *,
        number: int = 0,
        after: float = 0.0,
        largest: int | None = None,
    ) -> Ended:
        """Run ``vaerecon *args``.

        Signal ``number``, if not 0, is sent ``after`` so many seconds; no file may become larger
        than ``largest`` bytes (RLIMIT_FSIZE: as on a full disk, for those who may not mount one).
        """
        started = time.monotonic()
        (pid,) = self._start([{"args": args, "cwd": str(cwd), "largest": largest}])
        timer = threading.Timer(after, send, (pid, number))
        if number:
            timer.start()
        (end,) = self._end()
        timer.cancel()
        return Ended(end["status"], end["stderr"], time.monotonic() - started)

    def run_at_once(self, commands: list[list[str]], cwd: Path) -> list[Ended]:
        """Run several, all started together."""
        started = time.monotonic()
        self._start([{"args": args, "cwd": str(cwd), "largest": None} for args in commands])
        ends = self._end()
        seconds = time.monotonic() - started
        return [Ended(end["status"], end["stderr"], seconds) for end in ends]

    def _start(self, requests: list[dict]) -> list[int]:
        self.process.stdin.write(json.dumps(requests) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def _end(self) -> list[dict]:
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait(timeout=30)


def send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it was quicker
        os.kill(pid, number)


def serve() -> None:
    """Read requests until the input ends."""
    for module in ("vaerecon.plots", "vaerecon.pipeline.pipeline", "papermill"):
        importlib.import_module(module)
    from vaerecon.cli.main import cli
    from vaerecon.utils.console import run_command

    for line in sys.stdin:
        children = []
        for request in json.loads(line):
            errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed below, when the child ended)
            pid = os.fork()
            if not pid:
                become(request, errors.fileno(), cli, run_command)
            children.append((pid, errors))
        answer([pid for pid, _ in children])
        ends = []
        for pid, errors in children:
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            errors.seek(0)
            ends.append({"status": status, "stderr": errors.read().decode(errors="replace")})
            errors.close()
        answer(ends)


def answer(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def become(request: dict, errors: int, cli: object, run_command: object) -> None:
    """The child: the command as it would be started from a shell."""
    # a process that was started in the background ignores Ctrl-C, and hands that on
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if request["largest"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["largest"], request["largest"]))
    os.chdir(request["cwd"])
    nothing = os.open(os.devnull, os.O_RDWR)
    for target, source in ((0, nothing), (1, nothing), (2, errors)):
        os.dup2(source, target)
    sys.argv = ["vaerecon", *request["args"]]
    status: int | None = None
    try:
        try:
            run_command(cli)
            status = 0
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    except BaseException as error:
        modules = [f.f_globals["__name__"] for f, _ in traceback.walk_tb(error.__traceback__)]
        if isinstance(error, KeyboardInterrupt) and "click.core" not in modules:
            if status is None:  # before the command began: ends as Python itself does
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                signal.raise_signal(signal.SIGINT)
        else:
            traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(1 if status is None else status)


if __name__ == "__main__":
    serve()
