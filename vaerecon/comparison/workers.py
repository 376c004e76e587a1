"""Where batches of work run: in this process or in others, and what happens when one dies.

Executors of :mod:`concurrent.futures` run them (the one of a Dask cluster has a module of its own).
When a process dies at work (killed, out of memory, a crash in C code), the batches that it may have
had are split, and their items run again one at a time, with nothing beside them. An item that ends
its process even then is given up; the others are not affected.
"""

import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor
from contextlib import AbstractContextManager, suppress
from typing import Any, TypeVar

from vaerecon.utils.console import spare_collector

Item = TypeVar("Item")
Result = TypeVar("Result")

logger = logging.getLogger(__name__)

# read when a library is loaded; for loaded libraries threadpoolctl sets the number (measure.py)
THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS",
)  # fmt: skip
CHECK_EVERY = 5  # s between two checks that there still are workers


class Team(AbstractContextManager):
    """Runs batches in this process; a subclass has workers, which stop when the block ends.

    After an error they stop at once.
    """

    width: int = 1  # batches to run at once
    deaths: tuple[type[Exception], ...] = ()  # the errors which say that a worker process died
    max_retries = 1  # how often an item may end its worker before it is given up

    def submit(self, function: Callable, *args: Any) -> Future:
        """The future result of ``function(*args)``; here it is computed at once."""
        future: Future = Future()
        try:
            future.set_result(function(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def start(self, ready: Callable[[], Result]) -> Result:
        """Start a worker, at the beginning and after one has died; returns ``ready()``."""
        return self.submit(ready).result()

    def check_alive(self) -> None:
        """Called while no batch ends; raises OSError if none can end any more."""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Stop the workers."""


def why_no_processes() -> str | None:
    """What keeps this process from starting worker processes; None if nothing does."""
    if multiprocessing.current_process().daemon:
        return "a daemonic process, as Celery's workers are, may not start others"
    script = sys.modules["__main__"]
    path = getattr(script, "__file__", None)
    if path is None or script.__spec__ is not None:  # no script, or a module that can be imported
        return None
    base = getattr(multiprocessing.process, "ORIGINAL_DIR", None) or ""
    if not os.path.exists(os.path.join(base, path)):
        return f"each would have to read the script again, and there is no file {path}"
    return None


class Processes(Team):
    """Processes on this machine; ``threads`` of each, for what reads it from the environment."""

    deaths = (BrokenProcessPool,)
    max_retries = 2

    def __init__(self, workers: int, threads: int = 1):
        # one batch a process: whatever is running when one dies is then known
        self.width, self._threads = workers, threads
        self._open()

    def _open(self) -> None:
        context = multiprocessing.get_context("spawn")  # fork breaks torch's threads
        parent_pipe, self._parent_end = context.Pipe(duplex=False)
        self.executor = ProcessPoolExecutor(
            self.width, context, initializer=_begin, initargs=(parent_pipe, self._threads)
        )

    def _close(self, at_once: bool) -> None:
        if at_once:
            self._parent_end.close()
        self.executor.shutdown(wait=True, cancel_futures=True)
        self._parent_end.close()

    def submit(self, function: Callable, *args: Any) -> Future:
        """Submit with Ctrl-C blocked: processes that are started here never get it."""
        if not hasattr(signal, "pthread_sigmask"):  # Windows
            return self.executor.submit(function, *args)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            return self.executor.submit(function, *args)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def start(self, ready: Callable[[], Result]) -> Result:
        """With new processes if one has died."""
        for _ in range(2):
            try:
                return super().start(ready)
            except BrokenProcessPool:
                self._close(at_once=True)
                self._open()
        raise OSError("workers: a worker process died before it had any clip; is there memory for "
                      "another model? In a script, the call must stand under `if __name__ == "
                      "'__main__':`. workers=1 does without processes")  # fmt: skip

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._close(at_once=kind is not None)


def _begin(parent_pipe: Any, threads: int) -> None:
    """First thing in a worker process."""
    spare_collector()
    os.environ |= dict.fromkeys(THREAD_VARIABLES, str(threads))
    threading.Thread(target=_follow, args=(parent_pipe,), daemon=True).start()


def _follow(parent_pipe: Any) -> None:
    """End this process when the other end of the pipe is closed, or its owner is no more.

    Without it a worker whose parent was killed would wait for work for ever.
    """
    with suppress(EOFError, OSError):
        parent_pipe.recv_bytes()
    os._exit(1)


def run_batches(
    team: Team, function: Callable[[list[Item]], Result], batches: Iterable[list[Item]],
    ready: Callable[[], object],
) -> Iterator[tuple[list[Item], Result | None]]:  # fmt: skip
    """Run ``function`` on every batch and yield each with its result, in the order of their ends.

    An item whose process died each time comes alone, with None. ``team`` is started already;
    another process must be able to import ``function`` and ``ready``, which prepares a new process.
    Raises whatever ``function`` raises, and OSError if there is no worker any more.
    """
    waiting = deque((batch, 0) for batch in batches)
    suspects: deque[tuple[list[Item], int]] = deque()  # one item each, and its deaths while alone
    running: dict[Future, tuple[list[Item], int]] = {}
    alone = broken = False
    while waiting or suspects or running:
        if broken and not running:
            team.start(ready)
            broken = False
        if suspects and not running:
            alone = True
            task = suspects.popleft()
            running[_submit(team, function, task[0])] = task
        elif not suspects:
            alone = alone and bool(running)
            while waiting and not alone and len(running) < team.width:
                task = waiting.popleft()
                running[_submit(team, function, task[0])] = task
        for future in _ended(team, running):
            batch, deaths = running.pop(future)
            if not _has_died(team, future):
                yield batch, future.result()
                continue
            broken = True
            deaths += alone
            if deaths >= team.max_retries:
                yield batch, None
            else:
                logger.warning("a worker died: %d to be done again", len(batch))
                suspects.extend(([item], deaths) for item in batch)


def _submit(team: Team, function: Callable, batch: list) -> Future:
    """Submit; a pool whose idle process has died says so here, not in the future."""
    try:
        return team.submit(function, batch)
    except team.deaths as error:
        future: Future = Future()
        future.set_exception(error)
        return future


def _has_died(team: Team, future: Future) -> bool:
    """Whether its worker process died; any other error is raised."""
    try:
        future.result()
    except CancelledError:
        raise OSError("scheduler: the connection to it is lost") from None
    except team.deaths:
        return True
    return False


def _ended(team: Team, running: dict[Future, Any]) -> set[Future]:
    """Wait until at least one has ended."""
    while True:
        ended, _ = wait(running, timeout=CHECK_EVERY, return_when=FIRST_COMPLETED)
        if ended:
            return ended
        team.check_alive()
