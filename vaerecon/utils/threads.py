"""Compute each clip on one core, instead of splitting every operation over all cores.

By default torch splits each operation over all cores and waits for the slowest. For operations of
some tenths of a millisecond that gains little, and if another process keeps one core busy, a loop
of thousands of operations becomes many times slower. A result computed on one core also does not
depend on the number of cores. The limit is set per thread; other threads are not affected.
"""

import ctypes
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import ThreadpoolController

KEPT = 32 * 2**20 - 2**16  # bytes; glibc's largest threshold is 32 MB, with its own header


def one_by_one(
    network: Callable[[torch.Tensor], torch.Tensor], batch: torch.Tensor
) -> torch.Tensor:
    """Return ``network(batch)`` for ``[B, ...]``, computed item by item on a CPU.

    Results then do not depend on the batch size, with which torch changes its blocks and rounding.
    """
    if batch.device.type != "cpu":
        return network(batch)
    keep_freed_memory()
    return torch.cat([network(batch[i : i + 1]) for i in range(len(batch))])


def device_of(model: Any) -> torch.device:
    """Device on which ``model`` computes; with CPU offloading its weights are on another one."""
    for module in model.modules():
        device = getattr(getattr(module, "_hf_hook", None), "execution_device", None)
        if device is not None:
            return torch.device(device)
    return torch.device(model.device)


def on_cores(function: Callable[[int], torch.Tensor], count: int) -> torch.Tensor:
    """Return ``function(0)`` to ``function(count - 1)``, stacked; each call runs in one thread.

    As many calls run at once as torch may use threads. ``function`` must turn gradients off itself,
    because that is a setting per thread.
    """
    keep_freed_memory()
    threads = torch.get_num_threads()  # 1 in a thread of the pool: nested calls need no pool
    run = map if 1 in (count, threads) else _pool(threads).map
    with on_one_core():
        return torch.stack(list(run(function, range(count))))


@contextmanager
def on_one_core() -> Iterator[None]:
    """Limit the calling thread to one core within the block."""
    before = _set_own_threads()
    try:
        yield
    finally:
        _set_own_threads(before)


def _set_own_threads(numbers: Sequence[int] = ()) -> list[int]:
    """Limit the calling thread to one core, or to ``numbers``; return the previous numbers.

    ``torch.set_num_threads`` would change the whole process. OpenMP, which torch uses to split its
    operations, has a number of cores per thread, and so has MKL (0: that of the process).
    """
    torch.get_num_threads()  # the first call in a thread sets its number: make it before ours
    openmp, set_mkl = _thread_settings()
    numbers = numbers or [1] * (len(openmp) + 1)
    before = [library.get_num_threads() for library in openmp]
    for library, number in zip(openmp, numbers, strict=False):
        library.set_num_threads(number)
    return [*before, set_mkl(numbers[-1])]


@cache
def _thread_settings() -> tuple[list[Any], Callable[[int], int]]:
    """Return the loaded OpenMP libraries and MKL's function that limits the calling thread."""
    openmp = ThreadpoolController().select(user_api="openmp").lib_controllers
    folder = Path(torch.__file__).parent / "lib"
    for name in ("libtorch_cpu.so", "libtorch_cpu.dylib", "torch_cpu.dll"):
        if (folder / name).exists():
            library = ctypes.CDLL(str(folder / name))
            return openmp, getattr(library, "MKL_Set_Num_Threads_Local", lambda number: 0)
    return openmp, lambda number: 0


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Return a pool of permanent threads: setting up a new one takes longer than a log-mel."""
    return ThreadPoolExecutor(threads, "vaerecon", initializer=_set_own_threads)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a fork has none of these threads


@cache
def keep_freed_memory() -> None:
    """Make the C library reuse freed blocks of up to 32 MB, instead of returning them to the OS.

    Mapping the pages of some megabytes again at every step can take longer than the arithmetic.
    Linux's malloc keeps blocks as large as the largest that has been freed (mallopt(3),
    M_MMAP_THRESHOLD), so one is allocated and freed unused. On other systems this has no effect.
    """
    torch.empty(KEPT, dtype=torch.uint8)
