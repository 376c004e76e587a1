"""Runs commands of the project in forked processes, so that each starts warm and can be killed.

The libraries take seconds to import; a test that interrupts a command at twenty moments cannot wait
for that twenty times, nor learn anything from it. Here one process imports them and forks a child
for every command: real processes that get real signals.

Protocol, one JSON a line: in a list of what :func:`request` makes, all run at once; out first a
list of their process ids, then one of ``{"status", "stdout", "stderr", "peak"}`` with the exit
statuses, negative for a signal.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

USED_LATER = ("librosa.filters", "numba", "pandas", "pystoi", "rich.table", "sqlite3")


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int  # exit status; negative: killed by that signal
    stdout: str
    stderr: str
    peak: int  # kB of memory at most, with what the warm process had
    seconds: float  # from the fork to the end


def request(
    args: list[str],
    cwd: Path | str = ".",
    *,
    code: str | None = None,
    stdin: str = "",
    env: dict[str, str] | None = None,
    largest: int | None = None,
) -> dict:
    """What one process is to do: ``vaerecon *args``, or Python ``code`` with these arguments.

    ``env`` is its whole environment, which ``huggingface_hub`` then reads anew. No file may become
    larger than ``largest`` bytes (RLIMIT_FSIZE): as on a full disk, for who may not mount one.
    """
    return {"args": args, "cwd": str(cwd), "code": code, "stdin": stdin, "env": env,
            "largest": largest}  # fmt: skip


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
        cwd: Path | str = ".",
        *,
        number: int = 0,
        after: float | Callable[[], object] = 0.0,
        **options,
    ) -> Ended:
        """Run ``vaerecon *args``, or what else ``options`` of :func:`request` say.

        Signal ``number``, if not 0, is sent ``after`` so many seconds, or when that returns.
        """
        (end,) = self.run_at_once([request(args, cwd, **options)], number=number, after=after)
        return end

    def run_at_once(
        self,
        requests: list[dict],
        *,
        number: int = 0,
        after: float | Callable[[], object] = 0.0,
    ) -> list[Ended]:
        """Run several, all started together; the signal, if any, is for the first."""
        ended = threading.Event()

        def strike() -> None:
            if callable(after):
                after()
            else:
                ended.wait(after)
            if not ended.is_set():
                send(pids[0], number)

        started = time.monotonic()
        self.process.stdin.write(json.dumps(requests) + "\n")
        self.process.stdin.flush()
        pids = json.loads(self.process.stdout.readline())
        if number:
            threading.Thread(target=strike, daemon=True).start()
        ends = json.loads(self.process.stdout.readline())
        ended.set()
        seconds = time.monotonic() - started
        return [Ended(seconds=seconds, **end) for end in ends]

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.kill()  # Python's own end would take a while
        self.process.wait()


def send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it was quicker
        os.kill(pid, number)


def serve() -> None:
    """Read requests until the input ends."""
    # USED_LATER: what most commands import when they need it
    for module in ("vaerecon.plots", "vaerecon.pipeline.pipeline", "papermill", *USED_LATER):
        importlib.import_module(module)
    from vaerecon.cli.main import cli
    from vaerecon.utils.console import run_command

    for line in sys.stdin:
        children = []  # each with its three standard streams
        for wanted in json.loads(line):
            streams = [tempfile.TemporaryFile() for _ in range(3)]  # noqa: SIM115 (closed below)
            streams[0].write(wanted["stdin"].encode())
            streams[0].seek(0)
            pid = os.fork()
            if not pid:
                become(wanted, streams, cli, run_command)
            children.append((pid, streams))
        answer([pid for pid, _ in children])
        ends = []
        for pid, streams in children:
            _, status, used = os.wait4(pid, 0)
            end = {"status": os.waitstatus_to_exitcode(status), "peak": used.ru_maxrss}
            for name, stream in zip(("stdout", "stderr"), streams[1:], strict=True):
                stream.seek(0)
                end[name] = stream.read().decode(errors="replace")
            for stream in streams:
                stream.close()
            ends.append(end)
        answer(ends)


def answer(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def become(wanted: dict, streams: list, cli: object, run_command: object) -> None:
    """The child: the command as it would be started from a shell."""
    # a process that was started in the background ignores Ctrl-C, and hands that on
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if wanted["largest"] is not None:
        import resource  # Windows has none

        resource.setrlimit(resource.RLIMIT_FSIZE, (wanted["largest"], wanted["largest"]))
    if wanted["env"] is not None:
        os.environ.clear()
        os.environ.update(wanted["env"])
        for name in [name for name in sys.modules if name.split(".")[0] == "huggingface_hub"]:
            del sys.modules[name]  # so that it is imported, and reads its variables, once more
    os.chdir(wanted["cwd"])
    for target, stream in enumerate(streams):
        os.dup2(stream.fileno(), target)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 (the parent's has read ahead, or may have)
    sys.argv = ["vaerecon", *wanted["args"]]
    status: int | None = None
    try:
        try:
            if wanted["code"] is None:
                run_command(cli)
            else:
                exec(wanted["code"], {"__name__": "__main__"})  # noqa: S102 (a test's own)
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
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1 if status is None else status)


if __name__ == "__main__":
    serve()
