"""The workers of a Dask cluster, for :mod:`vaerecon.comparison.workers`."""

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from vaerecon.comparison.workers import Result, Team

CONNECT = 30  # s; to reach a scheduler, and then for its first worker
ABANDONED = 60  # s without any worker after which a cluster is given up


class Cluster(Team):
    """The workers of a Dask scheduler at ``tcp://host:port``; an OSError if there are none."""

    def __init__(self, address: str):
        try:
            from distributed import Client, KilledWorker
        except ImportError:
            raise ValueError("scheduler: the package distributed is not installed: `pip install "
                             "distributed`, here and on every worker") from None  # fmt: skip
        self.deaths = (KilledWorker,)  # Dask itself has by then tried the work on several workers
        try:
            self._client = Client(address, timeout=CONNECT, set_as_default=False)
        except (OSError, TimeoutError):
            raise OSError(f"scheduler: nothing answers at {address!r}; start one with `dask "
                          "scheduler`, and name the address that it prints") from None  # fmt: skip
        except ValueError as error:
            raise ValueError(
                f"scheduler: got {address!r}, expected an address like tcp://host:8786 ({error})"
            ) from None
        try:
            self._client.wait_for_workers(1, timeout=CONNECT)
        except TimeoutError:
            self._client.close()
            raise OSError(f"scheduler: {address!r} has no workers; start some with `dask worker "
                          f"{address} --nthreads 1`") from None  # fmt: skip
        # pure=False: results of an earlier run are not used
        self._executor = self._client.get_executor(pure=False)
        self._alone_since: float | None = None

    def submit(self, function: Callable, *args: Any) -> Future:
        return self._executor.submit(function, *args)

    def start(self, ready: Callable[[], Result]) -> Result:
        try:
            return super().start(ready)
        except (ValueError, OSError):
            raise
        except Exception as error:
            raise OSError(
                f"scheduler: a worker could not begin ({type(error).__name__}: {error}); it needs "
                "the vaerecon, Python and distributed that are here"
            ) from None

    @property
    def width(self) -> int:  # type: ignore[override]
        """One batch a worker process; workers may come and go."""
        return max(1, len(self._client.nthreads()))

    def check_alive(self) -> None:
        if self._client.nthreads():
            self._alone_since = None
            return
        now = time.monotonic()
        self._alone_since = self._alone_since or now
        if now - self._alone_since > ABANDONED:
            raise OSError(f"scheduler: it has had no workers for {ABANDONED} s; start some")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._client.close()
